"""Detectors from files: networks of the SSD and YOLO families, in OpenVINO IR or ONNX."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from peca_client.watch.detectors import Boxes, best_boxes
from peca_client.watch.errors import WatchError

_DEFAULT_SIDE = 640
_MOST_END_TO_END = 1000
_GREY = 114

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is ready to run.

    Attributes:
        run: From float32 (1, 3, H, W) to its output.
        input_hw: Height and width of its input.
        name: Its file, for messages.
    """

    run: Run
    input_hw: tuple[int, int]
    name: str


class NetworkDetector:
    """Runs a network of which the output's shape says the family.

    - SSD, (1, 1, N, 7): image, class, score, corners as shares. Input: blue, green, red in 0 to 255,
      stretched, as in the Open Model Zoo.
    - YOLO, (1, 4 + classes, N), (1, N, 5 + classes) or, with the boxes already sorted out, (1, N, 6).
      Input: red, green, blue in 0 to 1, with a grey border that keeps the proportions.
    """

    def __init__(self, network: Network, threshold: float, person_class: int | None) -> None:
        self._network = network
        self._threshold = threshold
        answer = _tried(network)
        shape = answer.shape
        self._is_ssd = shape[-1] == 7 and (len(shape) == 4 or shape[-2] == 7)
        if not self._is_ssd and (len(shape) != 3 or shape[0] != 1 or min(shape[1:]) < 5):
            raise WatchError(
                f"{network.name} answers with an array of {shape}; expected SSD's (1, 1, N, 7), or YOLO's "
                "(1, 4 + classes, N), (1, N, 5 + classes) or (1, N, 6): export it as one of these"
            )
        self._person = person_class if person_class is not None else int(self._is_ssd)
        if not self._is_ssd:
            self._check_class(answer)

    def _check_class(self, answer: NDArray[np.float32]) -> None:
        try:
            read_yolo(answer, self._person)
        except IndexError:
            raise WatchError(
                f"{self._network.name} has no class {self._person}; --person-class counts from 0"
            ) from None

    def detect(self, pixels: NDArray[np.uint8]) -> Boxes:
        """See ``Detector``."""
        boxes = self._ssd(pixels) if self._is_ssd else self._yolo(pixels)
        return best_boxes(boxes.astype(np.float32), self._threshold, pixels.shape[:2])

    def _ssd(self, pixels: NDArray[np.uint8]) -> Boxes:
        height, width = self._network.input_hw
        image = cv2.resize(pixels, (width, height)).astype(np.float32)
        rows = self._network.run(image.transpose(2, 0, 1)[None]).reshape(-1, 7)
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 1].astype(int) == self._person)]
        full = np.array([pixels.shape[1], pixels.shape[0]] * 2, np.float32)
        return np.concatenate([rows[:, 3:] * full, rows[:, 2:3]], axis=1)

    def _yolo(self, pixels: NDArray[np.uint8]) -> Boxes:
        image, scale, (aside, above) = letterbox(pixels, self._network.input_hw)
        boxes = read_yolo(self._network.run(image), self._person)
        boxes[:, :4] = (boxes[:, :4] - np.array([aside, above] * 2, np.float32)) / scale
        return boxes


def _tried(network: Network) -> NDArray[np.float32]:
    """Its output of an empty picture.

    Raises:
        WatchError: It cannot be run on one picture.
    """
    try:
        return network.run(np.zeros((1, 3, *network.input_hw), np.float32))
    # The runtimes' own errors derive from RuntimeError or from Exception alone.
    except Exception as error:
        raise WatchError(f"{network.name} cannot be run on one picture: {_first_line(error)}") from error


def letterbox(
    pixels: NDArray[np.uint8], input_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], float, tuple[int, int]]:
    """A frame as YOLO takes it: float32 (1, 3, H, W) in 0 to 1, its scale, and its border left and above."""
    height, width = input_hw
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    aside, above = (width - size[0]) // 2, (height - size[1]) // 2
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    canvas[above : above + size[1], aside : aside + size[0]] = cv2.resize(pixels, size)
    image = canvas[:, :, ::-1].astype(np.float32) / 255.0
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]), scale, (aside, above)


def read_yolo(output: NDArray[np.float32], person_class: int) -> Boxes:
    """Boxes of people from a YOLO network's output, (N, 5) in pixels of its input."""
    rows = output[0]
    if rows.shape[1] == 6 and rows.shape[0] <= _MOST_END_TO_END:
        people = rows[:, 5].astype(int) == person_class
        return np.asarray(rows[people, :5], np.float32)
    if rows.shape[0] < rows.shape[1]:
        rows = rows.T
        scores = rows[:, 4 + person_class]
    else:
        scores = rows[:, 4] * rows[:, 5 + person_class]
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half, scores[:, None]], axis=1)


def open_network(file: Path) -> Network:
    """Open a network by the runtime that is installed: OpenVINO for IR; ONNX Runtime or OpenVINO for ONNX.

    Raises:
        WatchError: No fitting runtime is installed, or the file is no network.
    """
    if file.suffix.lower() not in (".xml", ".onnx"):
        raise WatchError(f"--detector expects OpenVINO IR (.xml) or ONNX (.onnx), got {file.name}")
    weights = file.with_suffix(".bin")
    if file.suffix.lower() == ".xml" and not weights.is_file():
        raise WatchError(f"{file} needs its weights beside it: there is no {weights}")
    openers = [_open_onnx] if file.suffix.lower() == ".onnx" else []
    for opener in (*openers, _open_openvino):
        try:
            return opener(file)
        except ImportError:
            continue
        # The runtimes' own errors derive from RuntimeError or from Exception alone.
        except Exception as error:
            raise WatchError(f"{file} cannot be opened as a network: {_first_line(error)}") from error
    runtimes = "onnxruntime" if openers else "openvino"
    raise WatchError(f"{file.name} needs a runtime: pip install {runtimes}")


def _open_onnx(file: Path) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=onnxruntime.get_available_providers())
    entry = session.get_inputs()[0]
    kind = np.float16 if entry.type == "tensor(float16)" else np.float32
    return Network(
        lambda image: np.asarray(session.run(None, {entry.name: image.astype(kind)})[0], np.float32),
        _input_hw(entry.shape),
        file.name,
    )


def _open_openvino(file: Path) -> Network:
    from openvino import Core

    core = Core()
    model = core.read_model(str(file))
    shape = [size.get_length() if size.is_static else None for size in model.inputs[0].get_partial_shape()]
    compiled = core.compile_model(model, "AUTO" if "GPU" in core.available_devices else "CPU")
    return Network(
        lambda image: np.asarray(compiled(image)[0], np.float32).copy(), _input_hw(shape), file.name
    )


def _input_hw(shape: list[Any]) -> tuple[int, int]:
    if len(shape) != 4:
        raise WatchError(f"a detector takes one image as (1, 3, H, W); this one takes {shape}")
    height, width = (size if isinstance(size, int) and size > 0 else _DEFAULT_SIDE for size in shape[2:])
    return height, width


def _first_line(error: Exception) -> str:
    """The first line that says what is wrong; OpenVINO says before where in its code it saw that."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = (line for line in lines if line and not line.startswith(("Exception from ", "Check '")))
    return next(told, type(error).__name__)
