"""How near each form of a frozen encoder comes to the trained network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import Precision
from exporter.errors import BundleInvalid
from index.metrics import evaluate_ranking
from index.protocols import PLAIN

FP32_MIN_COSINE = 0.9999
INT8_MIN_MEAN_COSINE = 0.985
INT8_MAX_MAP_CHANGE = 0.01


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
        For each precision ``against``, ``min_cosine``, ``mean_cosine`` and ``mean_ap`` (of cross-modality
        search, both directions, in [0, 1]), and the number of ``images``.
    """
    report: dict[str, Any] = {"images": len(labels)}
    for precision, embeddings in frozen.items():
        reference = trained if precision is Precision.FP32 else frozen[Precision.FP32]
        cosine = np.sum(embeddings.astype(np.float64) * reference, axis=1)
        report[precision.value] = {
            "against": "torch" if precision is Precision.FP32 else Precision.FP32.value,
            "min_cosine": round(float(cosine.min()), 6),
            "mean_cosine": round(float(cosine.mean()), 6),
            "mean_ap": round(cross_modality_scores(embeddings, labels, modality, cameras)[1], 4),
        }
    return report


def check_parity(report: dict[str, Any]) -> None:
    """Refuse a bundle whose forms are not the network that was trained.

    Raises:
        BundleInvalid: A figure of ``parity_report`` is out of bounds; the message names it.
    """
    fp32, int8 = report[Precision.FP32], report.get(Precision.INT8)
    if fp32["min_cosine"] < FP32_MIN_COSINE:
        raise BundleInvalid(f"fp32 strays from torch: min cosine {fp32['min_cosine']} < {FP32_MIN_COSINE}")
    if int8 is None:
        return
    if int8["mean_cosine"] < INT8_MIN_MEAN_COSINE:
        raise BundleInvalid(
            f"int8 strays from fp32: mean cosine {int8['mean_cosine']} < {INT8_MIN_MEAN_COSINE}"
        )
    change = int8["mean_ap"] - fp32["mean_ap"]
    if abs(change) > INT8_MAX_MAP_CHANGE:
        raise BundleInvalid(f"int8 changes mAP by {change:+.4f}, more than {INT8_MAX_MAP_CHANGE}")


def cross_modality_scores(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    modality: NDArray[np.int64],
    cameras: NDArray[np.str_],
) -> tuple[float, float]:
    """Rank-1 and mAP, in [0, 1], of searching each modality in the other, the mean of both directions."""
    scores = []
    for query in (0, 1):
        asks, holds = modality == query, modality != query
        similarity = embeddings[asks] @ embeddings[holds].T
        metrics = evaluate_ranking(
            similarity, labels[asks], labels[holds], cameras[asks], cameras[holds], PLAIN
        )
        scores.append((float(metrics.cmc[0]), float(metrics.mean_ap)))
    rank1, mean_ap = np.mean(scores, axis=0).tolist()
    return rank1, mean_ap
