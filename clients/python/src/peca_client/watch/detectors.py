"""Finding people in a frame: OpenCV's HOG detector, or a network from a file."""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from peca_client.watch.errors import WatchError

Boxes = NDArray[np.float32]
"""float32 (N, 5): left, top, right, bottom in pixels, and a score in [0, 1]; best first."""

_HOG_STRIDE = (8, 8)
_HOG_SCALE = 1.05
_HOG_MARGIN = (0.14, 0.06)
_HOG_LONGEST = 800


class Detector(Protocol):
    """Finds people."""

    def detect(self, pixels: NDArray[np.uint8]) -> Boxes:
        """Boxes of the people in a frame, uint8 (H, W, 3) in blue, green, red."""
        ...


class HogDetector:
    """OpenCV's people detector: histograms of oriented gradients and a linear SVM.

    It needs no file and finds people who stand upright, from about 100 pixels of height; slow, and with
    more misses and more false boxes than a network. Dalal and Triggs, CVPR 2005.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))

    def detect(self, pixels: NDArray[np.uint8]) -> Boxes:
        """See ``Detector``."""
        shrink = min(1.0, _HOG_LONGEST / max(pixels.shape[:2]))
        view = pixels if shrink == 1.0 else cv2.resize(pixels, None, fx=shrink, fy=shrink)
        found, margins = self._hog.detectMultiScale(
            view, winStride=_HOG_STRIDE, padding=_HOG_STRIDE, scale=_HOG_SCALE
        )
        if len(found) == 0:
            return np.zeros((0, 5), np.float32)
        left, top, width, height = np.asarray(found, np.float32).T / shrink
        # The window that HOG learned leaves a border around the person.
        aside, above = width * _HOG_MARGIN[0], height * _HOG_MARGIN[1]
        # The SVM's margin is no probability; the logistic curve brings it to the other detectors' scale.
        scores = 1.0 / (1.0 + np.exp(-2.0 * np.asarray(margins, np.float32).reshape(-1)))
        boxes = np.stack(
            [left + aside, top + above, left + width - aside, top + height - above, scores], axis=1
        )
        return best_boxes(boxes.astype(np.float32), self._threshold, pixels.shape[:2])


def open_detector(file: Path | None, threshold: float, person_class: int | None) -> Detector:
    """The detector of a file, or HOG without one.

    Args:
        file: A network as OpenVINO IR (``.xml`` beside its ``.bin``) or ONNX.
        threshold: Least score of a box.
        person_class: The network's number for people; 1 (SSD) or 0 (YOLO) where not given.

    Raises:
        WatchError: The file is not there, cannot be read, or its runtime is not installed.
    """
    if file is None:
        return HogDetector(threshold)
    if not file.is_file():
        raise WatchError(f"--detector expects a file, but there is no {file}")
    from peca_client.watch.networks import NetworkDetector, open_network

    return NetworkDetector(open_network(file), threshold, person_class)


def best_boxes(boxes: Boxes, threshold: float, image_hw: tuple[int, int], overlap: float = 0.5) -> Boxes:
    """Boxes from ``threshold`` on, cut to the frame, best first, without those that lie on a better one.

    Args:
        boxes: (N, 5) as ``Boxes``, in any order.
        threshold: Least score.
        image_hw: Height and width of the frame in pixels.
        overlap: Largest intersection over union of two boxes that stay.

    Returns:
        (M, 5), M <= N.
    """
    boxes = boxes[boxes[:, 4] >= threshold]
    boxes[:, 0:4:2] = boxes[:, 0:4:2].clip(0, image_hw[1])
    boxes[:, 1:4:2] = boxes[:, 1:4:2].clip(0, image_hw[0])
    boxes = boxes[(boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)]
    if len(boxes) == 0:
        return boxes.reshape(0, 5)
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]], axis=1)
    chosen = cv2.dnn.NMSBoxes(corners.tolist(), boxes[:, 4].tolist(), 0.0, overlap)
    kept = np.asarray(chosen, np.int64).reshape(-1)
    return boxes[kept[np.argsort(-boxes[kept, 4], kind="stable")]]
