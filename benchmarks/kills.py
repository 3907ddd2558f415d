"""Kill a process that changes a gallery, at random moments, and see that nothing acknowledged was lost.

A child adds, removes, erases, reopens, snapshots, restores, compacts and embeds anew one gallery, and drops
its old generations; it says before each change what it begins and after it that it is done. Once beside it,
another process opens the file, writes a rule of retention and closes it. The child is killed with SIGKILL;
the gallery is opened again without any repair, and compared with what was acknowledged: every acknowledged
change is there, and the one that the signal cut off is there whole or not at all. A snapshot holds its
images' files; what was restored from one is whole, and a restore that was cut off ends when it is begun
again, as does an erase, after which no generation and no file holds anything of what was erased.
Usage: kills.py --help
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.embedded.ann import Limits
from index.embedded.compaction import compact_gallery
from index.embedded.engine import EmbeddedGallery
from index.embedded.erasure import erasable_elsewhere, erase_images
from index.embedded.snapshot import check_snapshot, restore_snapshot, take_snapshot
from index.embedded.store import FILE_NAME, write_rules
from index.embedded.verification import verify_gallery
from index.errors import GalleryUnavailable, SnapshotInvalid
from index.gallery import stored_spec
from index.generations import current_folder, other_generations
from index.images import image_path, image_paths
from index.records import ImageRecord, Where
from index.reindex import NewEncoder
from index.space import EmbeddingSpec, Modality, l2_normalise
from index.switching import drop_old, reindex

DIM = 64
# Two in turn, so that a generation which a kill left half made is gone on with.
ENCODERS = ("encoder-a", "encoder-b")
BATCH = 48
MOST_BATCHES = 30
# Small, so that coding, joining and learning anew happen all the time.
LIMITS = Limits(flat=96 * DIM, seal=64 * DIM, segment=1024, exact=0)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class State:
    """What a gallery holds: numbers of batches, as which of the encoders embeds them."""

    batches: frozenset[int] = frozenset()
    encoder: int = 0

    @property
    def spec(self) -> EmbeddingSpec:
        """Of its vectors."""
        return EmbeddingSpec(DIM, ENCODERS[self.encoder])

    def reindexed(self) -> "State":
        """The same images by the other encoder."""
        return State(self.batches, 1 - self.encoder)


@lru_cache(256)
def batch(number: int, encoder: int) -> tuple[list[ImageRecord], NDArray[np.float32]]:
    """Images that any process can tell from the batch's number."""
    moment = datetime.fromtimestamp(number, UTC)
    records = [ImageRecord(f"{number}-{i}", Modality.VISIBLE, f"cam{number}", moment) for i in range(BATCH)]
    rows = np.random.default_rng((number, encoder)).standard_normal((BATCH, DIM)).astype(np.float32)
    return records, l2_normalise(rows)


def write_images(images: Path, number: int) -> None:
    """Write the image files of a batch; each says which image it is, and nothing else."""
    for i, record in enumerate(batch(number, 0)[0]):
        path = image_path(images, record.image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(np.array([number, i, 0], np.int64).tobytes())


def new_encoder(state: State) -> NewEncoder:
    """The encoder of ``state``, which makes an image's vector of its file."""

    def encode(pixels: NDArray[np.uint8], _: Sequence[Modality]) -> NDArray[np.float32]:
        told = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.int64)
        return np.stack([batch(int(number), state.encoder)[1][i] for number, i, _ in told])

    return NewEncoder(state.spec, lambda data: np.frombuffer(data, np.uint8).reshape(1, -1, 3), encode)


@dataclass
class Life:
    """One child's gallery: what it holds, and what comes next.

    Attributes:
        folder: Of the gallery, in a folder of its own.
        held: What is there.
        draw: Chooses.
        gallery: Open.
        last: The snapshot that it took last.
    """

    folder: Path
    held: State
    draw: random.Random
    gallery: EmbeddedGallery = field(init=False)
    last: Path | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.gallery = opened(self.folder, self.held)

    @property
    def files(self) -> Path:
        """Where the image files are: beside the gallery, since no file is removed with its batch."""
        return self.folder.parent / "files"

    def add(self, number: int) -> None:
        """Add the batch."""
        write_images(self.files, number)
        report = self.gallery.add(*batch(number, self.held.encoder))
        assert len(report.added) == BATCH, report

    def remove(self, number: int) -> None:
        """Remove the batch."""
        assert self.gallery.remove(Where(camera_ids=[f"cam{number}"])) == BATCH

    def erase(self, number: int) -> None:
        """Close, erase the batch in every generation, and open."""
        self.gallery.close()
        erased(self.folder, number)
        self.gallery = opened(self.folder, self.held)

    def reopen(self, number: int) -> None:  # noqa: ARG002
        """Close, which writes the index file, and open."""
        self.gallery.close()
        self.gallery = opened(self.folder, self.held)

    def snapshot(self, number: int) -> None:
        """Take a snapshot beside the open gallery."""
        self.last = self.folder.parent / f"snapshot-{number}"
        take_snapshot(current_folder(self.folder), self.files, self.last)

    def restore(self, number: int) -> None:
        """Restore the last snapshot beside the gallery, or take one."""
        if self.last is None:
            self.snapshot(number)
        elif not (where := restored(self.last)).exists():
            restore_snapshot(self.last, where, where / "images")

    def compact(self, number: int) -> None:  # noqa: ARG002
        """Close, compact and open."""
        self.gallery.close()
        compact_gallery(current_folder(self.folder))
        self.gallery = opened(self.folder, self.held)

    def reindex(self, number: int) -> None:  # noqa: ARG002
        """Close, embed all by the other encoder, switch, and open."""
        self.gallery.close()
        following = self.held.reindexed()
        report = reindex(f"embedded:{self.folder}", self.files, new_encoder(following))
        assert report.switched, report
        self.gallery = opened(self.folder, following)

    def drop(self, number: int) -> None:  # noqa: ARG002
        """Remove the generations that are not in use."""
        drop_old(f"embedded:{self.folder}")
        assert not other_generations(self.folder)


# A new operation joins here: how often, what it does, and what is there after it.
Step = Callable[[Life, int], None]
OPERATIONS: dict[str, tuple[int, Step, Callable[[State, int], State]]] = {
    "add": (10, Life.add, lambda held, number: replace(held, batches=held.batches | {number})),
    "remove": (5, Life.remove, lambda held, number: replace(held, batches=held.batches - {number})),
    "erase": (3, Life.erase, lambda held, number: replace(held, batches=held.batches - {number})),
    "reopen": (2, Life.reopen, lambda held, _: held),
    "snapshot": (2, Life.snapshot, lambda held, _: held),
    "restore": (2, Life.restore, lambda held, _: held),
    "compact": (2, Life.compact, lambda held, _: held),
    "reindex": (3, Life.reindex, lambda held, _: held.reindexed()),
    "drop": (1, Life.drop, lambda held, _: held),
}


LEAVING = ("remove", "erase")
"""What takes a batch away."""


def erased(folder: Path, number: int) -> None:
    """Erase a batch, or end what was begun; nothing of it stays."""
    current, others, files = current_folder(folder), other_generations(folder), folder.parent / "files"
    camera = Where(camera_ids=[f"cam{number}"])
    assert erase_images(current, files, [camera], others).complete
    assert not erasable_elsewhere(current, others, [camera]), f"another generation holds batch {number}"
    assert not any(path.exists() for path in files_of([number], files)), f"files of batch {number} stayed"


def opened(folder: Path, held: State) -> EmbeddedGallery:
    """The gallery, open for writing, coded early and saved often."""
    import index.embedded.engine as engine

    engine._WORTH_SAVING = 1
    engine._WORTH_PAUSING = 4 * BATCH
    return EmbeddedGallery(current_folder(folder), held.spec, limits=LIMITS)


def child(folder: Path, held: State, seed: int) -> None:
    """Change the gallery until killed; says before a change ``begin NAME NUMBER``, and after it ``done``."""
    life = Life(folder, held, random.Random(seed))
    names, weights = list(OPERATIONS), [weight for weight, *_ in OPERATIONS.values()]
    following = max(held.batches, default=0) + 1 + 1000 * seed
    while True:
        (name,) = life.draw.choices(names, weights)
        if name in LEAVING and len(life.held.batches) < 4:
            continue
        if name == "add" and len(life.held.batches) >= MOST_BATCHES:
            name = "remove"
        number = life.draw.choice(sorted(life.held.batches)) if name in LEAVING else following
        following += 1
        print("begin", name, number, flush=True)
        _, step, after = OPERATIONS[name]
        step(life, number)
        life.held = after(life.held, number)
        print("done", flush=True)


def killed(folder: Path, held: State, seed: int, draw: random.Random) -> tuple[State, str, int]:
    """Run a child and kill it; what it acknowledged, and the operation and number that were cut off."""
    command = [sys.executable, __file__, "--child", str(folder), str(seed)]
    command.append(json.dumps([sorted(held.batches), held.encoder]))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(draw.randrange(1, 40))]
        write_rule(folder)
        heard += [process.stdout.readline() for _ in range(draw.randrange(20))]
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        heard += [line for line in process.stdout if line.endswith("\n")]
        if process.wait() != -signal.SIGKILL:
            raise AssertionError(f"the child ended by itself with {process.returncode}")
    name, number = "nothing", 0
    for line in heard:
        if line.startswith("begin"):
            _, name, told = line.split()
            number = int(told)
        else:
            held = OPERATIONS[name][2](held, number)
            name = "nothing"
    return held, name, number


def write_rule(folder: Path) -> None:
    """Open the file beside who writes it, change it and close it, as ``peca gallery retention`` does."""
    with suppress(GalleryUnavailable):  # it is being moved, or has yet to be begun
        write_rules(current_folder(folder), {None: 36_500})


def check(folder: Path, held: State, name: str, number: int) -> State:
    """Open the gallery as it was left, and hold it against what was acknowledged; what it holds now."""
    allowed = [held] if name == "nothing" else [held, OPERATIONS[name][2](held, number)]
    if name == "erase":
        erased(folder, number)
        allowed = allowed[1:]
    with closing(opened(folder, in_use(folder, allowed))) as gallery:
        encoder = ENCODERS.index(gallery.spec.encoder)
        counts = Counter(
            int(one.image_id.split("-")[0]) for records, _ in gallery.vectors() for one in records
        )
        found_state = State(frozenset(counts), encoder)
        assert found_state in allowed, (
            f"after {name} {number}: {found_state.batches ^ held.batches} differ from what was told"
        )
        assert set(counts.values()) <= {BATCH}, f"after {name} {number}: a batch is there in part: {counts}"
        for one in random.Random(number).sample(sorted(counts), min(5, len(counts))):
            records, rows = batch(one, encoder)
            for exact in (False, True):
                (found,) = gallery.search(rows[7:8], 1, exact=exact)
                assert found[0].record == records[7], f"batch {one} is not found"
            (far,) = gallery.search(rows[:1], 10**6, exact=True)
            assert len(far) == BATCH * len(counts), "a search does not find all that is there"
    files = folder.parent / "files"
    for path in set(image_paths(files)) - set(files_of(found_state.batches, files)):
        path.unlink()  # nobody removes the files of a batch with it
    check_whole(current_folder(folder), files, BATCH * len(counts))
    for snapshot in folder.parent.glob("snapshot-*"):
        try:
            check_snapshot(snapshot)
        except SnapshotInvalid:
            assert snapshot.name == f"snapshot-{number}", f"the acknowledged {snapshot} is not whole"
        else:
            check_restored(snapshot)
    return found_state


def files_of(batches: Iterable[int], files: Path) -> Iterator[Path]:
    """Where the image files of batches are."""
    return (image_path(files, record.image_id) for one in batches for record in batch(one, 0)[0])


def restored(snapshot: Path) -> Path:
    """Where a snapshot is restored to."""
    return snapshot.with_name(f"restored-from-{snapshot.name}")


def check_restored(snapshot: Path) -> None:
    """Restore the snapshot, or end what was begun; it holds whole batches, each image with its file."""
    where = restored(snapshot)
    if not (where / FILE_NAME).exists():
        restore_snapshot(snapshot, where, where / "images")
    manifest, _ = check_snapshot(snapshot)
    assert manifest.images % BATCH == 0, f"{snapshot} holds a batch in part"
    check_whole(where, where / "images", manifest.images)


def check_whole(gallery: Path, files: Path, images: int) -> None:
    """The gallery is without a fault, and so many images have their files."""
    found = verify_gallery(gallery, files)
    assert not found.faults, found.faults
    assert found.images == images, f"{gallery} holds {found.images} images in the place of {images}"
    assert (found.image_files or 0) == images, f"{files} holds {found.image_files} files of {images} images"


def in_use(folder: Path, allowed: Sequence[State]) -> State:
    """Which of the states has the encoder of the gallery as it was left; the first where none was begun."""
    stored = stored_spec(f"embedded:{folder}")
    fitting = [state for state in allowed if stored in (None, state.spec)]
    assert fitting, f"the gallery is of {stored}, which was never told"
    return fitting[0]


def kill_often(kills: int, seed: int) -> Counter[str]:
    """So many kills of one gallery; by operation, how many met it under way.

    Raises:
        AssertionError: A change was lost, or half of one was kept.
    """
    draw = random.Random(seed)
    met: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "gallery"
        held = State()
        for number in range(kills):
            held, name, cut = killed(folder, held, 1 + number, draw)
            held = check(folder, held, name, cut)
            met[name] += 1
            for taken in (*Path(parent).glob("snapshot-*"), *Path(parent).glob("restored-*")):
                shutil.rmtree(taken)
    return met


def main() -> None:
    """Kill, check, and print what was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    met = kill_often(options.kills, options.seed)
    told = ", ".join(f"{name} {count}" for name, count in met.most_common())
    print(f"{options.kills} kills in {time.monotonic() - began:.0f} s, under way: {told}")
    print("no acknowledged change lost, none half-applied, no repair")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        batches, encoder = json.loads(sys.argv[4])
        child(Path(sys.argv[2]), State(frozenset(batches), encoder), int(sys.argv[3]))
    else:
        main()
