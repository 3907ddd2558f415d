"""The distances that a trained encoder puts between the images of a data set (PECA, Fig. 8)."""

from collections.abc import Callable, Sequence

from index.distances import Distances, measure_distances
from training.datasets.tree import TreeImage
from training.explain.trained import TrainedEncoder, embed_samples


def sample_distances(
    trained: TrainedEncoder,
    samples: Sequence[TreeImage],
    progress: Callable[[int, int], None] | None = None,
) -> Distances:
    """Embed all images and measure every pair of them.

    Args:
        trained: The encoder.
        samples: Labelled images of both modalities.
        progress: Called with images embedded and in all.

    Raises:
        DatasetInvalid: An image cannot be read.
        InvalidInput: No identity was seen in both modalities, or the encoder gives values that are
            not finite.
    """
    embeddings = embed_samples(trained, samples, progress)
    people = [sample.person_id for sample in samples]
    return measure_distances(embeddings, people, [sample.modality for sample in samples])
