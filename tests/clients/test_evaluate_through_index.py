"""``peca evaluate --through-index``: what it prints, and what it writes."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality

Peca = Callable[..., tuple[int, str, str]]


def test_the_cost_of_the_index_is_printed_and_written(peca: Peca, tmp_path: Path) -> None:
    url, out = f"embedded:{tmp_path / 'gallery'}", tmp_path / "report.json"
    rng = np.random.default_rng(0)
    people = rng.integers(10, size=120)
    rows = rng.normal(size=(10, 16))[people] + rng.normal(size=(120, 16))
    records = [
        ImageRecord(
            f"i{n}", tuple(Modality)[n % 2], f"c{n % 4}", datetime.fromtimestamp(n, UTC), f"p{person}"
        )
        for n, person in enumerate(people)
    ]
    with closing(open_gallery(url, EmbeddingSpec(16, "test"))) as gallery:
        gallery.add(records, rows.astype(np.float32))
    code, printed, _ = peca("evaluate", "--gallery", url, "--through-index", "--out", out)
    assert code == 0
    content = json.loads(out.read_text())
    assert content["through_index"]["depth"] == 100
    # Exact at this size, so it costs nothing.
    assert set(content["through_index"]["cost"].values()) == {0.0}
    assert f"mAP {content['mean_ap']:.4f} of {content['mean_ap']:.4f}" in printed.replace("\n", " ")
    code, _, err = peca("evaluate", out, "--through-index")
    assert code == 2
    assert "--through-index is for a gallery" in err
