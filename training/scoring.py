"""How good a trained encoder is on the test part of a data set, by the data set's own protocol."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

import torch

from index.evaluation import EvaluationReport, evaluate_gallery
from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec
from training.data.arrays import ImageArray
from training.datasets.describe import tests_for
from training.datasets.tree import TreeImage
from training.models.encoder import Encoder
from training.validation import embed

# Protocols never look at the time of capture.
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def score_test(
    encoder: Encoder,
    samples: Sequence[TreeImage],
    images: ImageArray,
    layout: str,
    device: torch.device,
    *,
    mirrored: bool = False,
) -> dict[str, EvaluationReport]:
    """Score the vectors that an encoder gives to test images.

    Args:
        encoder: As trained.
        samples: The N test images of a tree.
        images: The same, decoded.
        layout: Whose tests are run: all- and indoor-search with one and ten shots for SYSU-MM01, both
            directions for RegDB, LLCM and a reader of one's own.
        device: Where the encoder is.
        mirrored: Average the feature of each image with that of its mirror image.

    Returns:
        A report for each test by the name that ``peca dataset describe`` gives it.

    Raises:
        InvalidInput: The images do not allow a test; the message says why.
    """
    vectors = embed(encoder, images, device, mirrored=mirrored)
    records = [
        ImageRecord(s.source, s.modality, s.camera_id, _ANY_TIME, person_id=s.person_id) for s in samples
    ]
    spec = EmbeddingSpec(encoder.dim, "in-training")
    with closing(open_gallery("memory:", spec)) as gallery:
        gallery.add(records, vectors)
        return {
            name: evaluate_gallery(gallery, mode, asking, shots=shots)
            for name, (mode, asking, shots) in tests_for(layout).items()
        }
