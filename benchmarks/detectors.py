"""How many people of real videos the camera agent's detectors find, and how sharp their crops are.

The videos are pairs by day, visible and thermal; they are not part of the project. A person counts as found
where a box of the default threshold lies on the labelled one with an intersection over union of 0.5 or more.
Not everybody in the videos is labelled, so false boxes are not counted.

Usage: detectors.py DATA [EVERY]

DATA holds m3svd/pairs.csv, m3svd/video/{visible,infrared}/SEQUENCE.mp4 and
models/person-detection-retail-0013.xml. Of the labelled frames every EVERY-th (default 3) is looked at.
Needs opencv-python-headless and openvino.
"""

import csv
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from index.space import Modality
from peca_client.watch.crops import cut, sharpness
from peca_client.watch.detectors import Detector, open_detector
from peca_client.watch.tracks import overlap

NETWORK = "models/person-detection-retail-0013.xml"
THRESHOLD = 0.5
FOUND_FROM = 0.5

Boxes = NDArray[np.float32]
Labels = dict[str, dict[int, list[list[float]]]]


def read_labels(file: Path, every: int) -> Labels:
    """Boxes by sequence and frame, of every ``every``-th labelled frame of a sequence."""
    labels: Labels = defaultdict(lambda: defaultdict(list))
    with file.open(newline="") as opened:
        for row in csv.DictReader(opened):
            corners = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
            labels[row["sequence"]][int(row["frame"])].append(corners)
    return {name: dict(sorted(frames.items())[::every]) for name, frames in labels.items()}


def labelled_frames(folder: Path, labels: Labels) -> Iterator[tuple[NDArray[np.uint8], Boxes]]:
    """Frames, uint8 (H, W, 3), and the boxes in them, float32 (N, 4)."""
    for sequence, frames in labels.items():
        video = cv2.VideoCapture(str(folder / f"{sequence}.mp4"))
        for number in range(max(frames) + 1):
            read, pixels = video.read() if number in frames else (video.grab(), None)
            if not read:
                raise SystemExit(f"{sequence}.mp4 in {folder} ends before frame {number}")
            if pixels is not None:
                yield np.asarray(pixels, np.uint8), np.array(frames[number], np.float32)
        video.release()


def score(detector: Detector, folder: Path, labels: Labels) -> tuple[int, int, float]:
    """People, those found, and the seconds of the median frame."""
    people, found, seconds = 0, 0, []
    for pixels, boxes in labelled_frames(folder, labels):
        began = time.perf_counter()
        answer = detector.detect(pixels)
        seconds.append(time.perf_counter() - began)
        people += len(boxes)
        if len(answer):
            found += int((overlap(boxes, answer[:, :4]).max(axis=1) >= FOUND_FROM).sum())
    return people, found, float(np.median(seconds))


def main(data: Path, every: int) -> None:
    """Print recall of both detectors, and the spread of sharpness, in both modalities."""
    labels = read_labels(data / "m3svd" / "pairs.csv", every)
    print("| detector | videos | people | found | recall | ms a frame |\n|---|---|---|---|---|---|")
    for name, file in (("person-detection-retail-0013", data / NETWORK), ("HOG", None)):
        detector = open_detector(file, THRESHOLD, None)
        for modality in Modality:
            people, found, seconds = score(detector, data / "m3svd" / "video" / modality, labels)
            share = f"{found / people:.1%} | {1000 * seconds:.0f}"
            print(f"| {name} | {modality} | {people} | {found} | {share} |", flush=True)
    for modality in Modality:
        sharp = [
            sharpness(cut(pixels, box))
            for pixels, boxes in labelled_frames(data / "m3svd" / "video" / modality, labels)
            for box in boxes
        ]
        print(
            f"sharpness, {modality}: 1 %, 10 %, 50 %, 90 %:", np.percentile(sharp, [1, 10, 50, 90]).round(1)
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)
