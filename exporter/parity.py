"""How near each form of a frozen encoder comes to the trained network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import Precision
from exporter.errors import BundleInvalid
from index.metrics import evaluate_ranking
from index.protocols import PLAIN

FP32_MIN_COSINE = 0.9999
MIN_MEAN_COSINE = 0.985
MAX_MAP_CHANGE = 0.005


def parity_report(
    trained: NDArray[np.float32],
    frozen: dict[Precision, NDArray[np.float32]],
    labels: NDArray[np.int64],
    modality: NDArray[np.int64],
    cameras: NDArray[np.str_],
) -> dict[str, Any]:
    """Compare embeddings of the same N images; fp32 with the network, the others with fp32.

    Args:
        trained: (N, D) unit rows by the trained network.
        frozen: (N, D) unit rows by each form; fp32 is among them.
        labels: (N,) identities.
        modality: (N,) int64, 0 visible and 1 infrared; both occur.
        cameras: (N,) camera names.

    Returns:
        For each precision ``against``, ``min_cosine``, ``mean_cosine``, ``mean_ap`` (of cross-modality
        search, both directions, in [0, 1]) and ``mixed_mean_ap`` (its queries in a gallery that the
        reference filled), and the number of ``images``.
    """
    report: dict[str, Any] = {"images": len(labels)}
    for precision, embeddings in frozen.items():
        reference = trained if precision is Precision.FP32 else frozen[Precision.FP32]
        low, mean = closeness(embeddings, reference)
        mixed = cross_modality_scores(embeddings, labels, modality, cameras, reference)
        report[precision.value] = {
            "against": "torch" if precision is Precision.FP32 else Precision.FP32.value,
            "min_cosine": round(low, 6),
            "mean_cosine": round(mean, 6),
            "mean_ap": round(cross_modality_scores(embeddings, labels, modality, cameras)[1], 4),
            "mixed_mean_ap": round(mixed[1], 4),
        }
    return report


def closeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Least and mean cosine of matching unit rows (N, D); not a number where a row is not finite."""
    cosine = np.sum(one.astype(np.float64) * other, axis=1)
    return float(cosine.min()), float(cosine.mean())


def check_parity(report: dict[str, Any]) -> None:
    """Refuse a bundle whose forms are not the network that was trained.

    Raises:
        BundleInvalid: A figure of ``parity_report`` is out of bounds; the message names it.
    """
    fp32 = report[Precision.FP32]
    # Each test is put so that what is not a number fails it.
    if not fp32["min_cosine"] >= FP32_MIN_COSINE:
        raise BundleInvalid(f"fp32 strays from torch: min cosine {fp32['min_cosine']} < {FP32_MIN_COSINE}")
    for form in (Precision.FP16, Precision.INT8):
        found = report.get(form)
        if found is None:
            continue
        if not found["mean_cosine"] >= MIN_MEAN_COSINE:
            raise BundleInvalid(
                f"{form} strays from fp32: mean cosine {found['mean_cosine']} < {MIN_MEAN_COSINE}"
            )
        for figure in ("mean_ap", "mixed_mean_ap"):
            change = round(found[figure] - fp32["mean_ap"], 4)
            if not abs(change) <= MAX_MAP_CHANGE:
                raise BundleInvalid(f"{form} changes {figure} by {change:+.4f}, more than {MAX_MAP_CHANGE}")


def cross_modality_scores(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    modality: NDArray[np.int64],
    cameras: NDArray[np.str_],
    gallery: NDArray[np.float32] | None = None,
) -> tuple[float, float]:
    """Rank-1 and mAP, in [0, 1], of searching each modality in the other, the mean of both directions.

    Args:
        embeddings: (N, D) unit rows.
        labels: (N,) identities.
        modality: (N,) int64, 0 visible and 1 infrared; both occur.
        cameras: (N,) camera names.
        gallery: (N, D) unit rows of the same images to search in; ``embeddings`` where not given.
    """
    filled = embeddings if gallery is None else gallery
    scores = []
    for query in (0, 1):
        asks, holds = modality == query, modality != query
        similarity = embeddings[asks] @ filled[holds].T
        metrics = evaluate_ranking(
            similarity, labels[asks], labels[holds], cameras[asks], cameras[holds], PLAIN
        )
        scores.append((float(metrics.cmc[0]), float(metrics.mean_ap)))
    rank1, mean_ap = np.mean(scores, axis=0).tolist()
    return rank1, mean_ap
