"""Real videos, watched by the camera agent; its crops of one light find the same people in the other.

`peca-client watch` looks at each video of the pairs by day, visible and thermal, and sends its crops to a
server with the encoder that ships. Each of its crops that lies on a labelled person is then searched in the
other light, among the crops of all videos. Right is a result that lies on the same person; who stands in a
crop is told by the labels, which cover both lights, and not by what the agent says.

Usage: agent_search.py DATA

DATA holds what detectors.py says. The network looks at visible videos, OpenCV's HOG at thermal ones, since
each misses most in the other light.
"""

import csv
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import numpy as np
from load import Server, serving

from index.space import Modality
from peca_client import PecaClient, each
from peca_client.watch.crops import Crop, cut, encode_jpeg
from peca_client.watch.detectors import open_detector
from peca_client.watch.notes import Notes
from peca_client.watch.sources import Frame, VideoSource
from peca_client.watch.spool import Spool
from peca_client.watch.tracks import overlap

NETWORK = "models/person-detection-retail-0013.xml"
FPS, THRESHOLD = 5.0, 0.5
SAME_FROM = 0.5
NEAR = 2
START = datetime(2026, 1, 1, tzinfo=UTC)
RANKS = (1, 5, 10)

Labels = dict[str, dict[int, list[tuple[str, list[float]]]]]


def read_labels(file: Path) -> Labels:
    """By sequence and frame, who stands where."""
    labels: Labels = defaultdict(lambda: defaultdict(list))
    with file.open(newline="") as opened:
        for row in csv.DictReader(opened):
            box = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
            labels[row["sequence"]][int(row["frame"])].append((row["person_id"], box))
    return labels


def watch(
    video: Path, camera: str, modality: Modality, network: Path | None, folder: Path, server: Server
) -> None:
    """Run the agent's command over a video."""
    command = [sys.executable, "-m", "peca_client", "watch", str(video), "--camera", camera]
    command += ["--modality", modality, "--start", START.isoformat(), "--fps", str(FPS)]
    command += ["--spool", str(folder / camera), "--url", server.url, "--api-key", server.key]
    if network is not None:
        command += ["--detector", str(network)]
    subprocess.run(command, check=True)


def people_of_crops(
    video: Path,
    camera: str,
    modality: Modality,
    network: Path | None,
    labels: dict[int, list[tuple[str, list[float]]]],
    notes: Notes,
) -> dict[str, str]:
    """By the id that the agent gives to the crop of each box, the person that the box lies on."""
    detector, found = open_detector(network, THRESHOLD, None), {}
    for frame in VideoSource(video, FPS, START).frames(notes, Event()):
        if not isinstance(frame, Frame) or frame.note is None:
            continue
        number = frame.note.frame
        near = [one for at in range(number - NEAR, number + NEAR + 1) for one in labels.get(at, ())]
        if not near:
            continue
        standing = np.array([box for _, box in near], np.float32)
        for box in detector.detect(frame.pixels):
            shares = overlap(box[np.newaxis, :4], standing)[0]
            if shares.max() >= SAME_FROM:
                data = encode_jpeg(cut(frame.pixels, box[:4]))
                crop = Crop(camera, "", frame.captured_at, modality, data)
                found[crop.image_id] = near[int(shares.argmax())][0]
    return found


def main(data: Path) -> None:
    """Watch, search, and print how often the same person was found."""
    labels = read_labels(data / "m3svd" / "pairs.csv")
    people: dict[str, str] = {}
    with (
        TemporaryDirectory() as name,
        serving(Path(name)) as server,
        Spool(Path(name) / "labels", most_bytes=1) as notes,
        PecaClient(server.url, server.key) as peca,
    ):
        for modality in Modality:
            network = data / NETWORK if modality is Modality.VISIBLE else None
            for sequence in labels:
                video = data / "m3svd" / "video" / modality / f"{sequence}.mp4"
                camera = f"{sequence}-{modality}"
                watch(video, camera, modality, network, Path(name), server)
                people |= people_of_crops(video, camera, modality, network, labels[sequence], notes)
        stored = {one.image_id: one.modality for one in each(peca.images)}
        known = {image_id: person for image_id, person in people.items() if image_id in stored}
        print(f"{len(stored)} crops stored, {len(known)} of them on labelled people")
        for modality in Modality:
            asked, hits = 0, dict.fromkeys(RANKS, 0)
            there = {person for image_id, person in known.items() if stored[image_id] != modality}
            queries = [i for i, person in known.items() if stored[i] == modality and person in there]
            for image_id in queries:
                answer = peca.search_by_image(image_id, limit=max(RANKS))
                asked += 1
                right = [known.get(item.image_id) == known[image_id] for item in answer.items]
                for rank in RANKS:
                    hits[rank] += any(right[:rank])
            rows = sum(one != modality for one in stored.values())
            shares = ", ".join(f"rank-{rank} {hits[rank] / max(asked, 1):.1%}" for rank in RANKS)
            print(
                f"{modality} crops ask for {len({known[i] for i in queries})} people, {asked} times, "
                f"among {rows} crops of the other light: {shares}"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
