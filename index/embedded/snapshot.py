"""Snapshots: a gallery with its image files as it is at one moment, in a folder of its own.

``gallery.sqlite3`` and ``images/`` lie in it as in a data folder, ``SHA256SUMS`` gives the SHA-256 of each
file in the form that ``sha256sum --check`` reads, and ``manifest.json``, written last, says what it is.
"""

import json
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from index.embedded.index_file import drop_index_file
from index.embedded.locks import ProcessLock
from index.embedded.store import (
    FILE_NAME,
    LOCK_NAME,
    RESTORED_NAME,
    Store,
    check_nothing_left,
    copy_database,
    open_stored,
)
from index.embedded.verification import looks
from index.errors import GalleryUnavailable, InvalidInput, SnapshotInvalid
from index.files import copy_file, make_folder, sha256_of, sync_folder, sync_folders, write_file
from index.images import DRAFTS_NAME, FOLDER_NAME, image_path, image_paths, remove_drafts
from index.records import ANY

MANIFEST_NAME = "manifest.json"
SUMS_NAME = "SHA256SUMS"
FORMAT = 1
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (gallery\.sqlite3|images/[0-9a-f]{2}/[0-9a-f]{64})")
_TOLD_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot says of itself.

    Attributes:
        format: Of the folder: 1.
        made_at: The instant at which it was complete, ISO 8601.
        encoder: Fingerprint of the gallery's encoder.
        dim: Length D of a vector.
        images: How many images.
        image_files: How many of them have their file in the snapshot.
        total_bytes: Of all files but this one and the sums.
        sums_sha256: SHA-256 of ``SHA256SUMS``.
    """

    format: int
    made_at: str
    encoder: str
    dim: int
    images: int
    image_files: int
    total_bytes: int
    sums_sha256: str


def take_snapshot(folder: Path, images: Path | None, out: Path) -> Manifest:
    """Copy a gallery and its image files; another process may serve and write it meanwhile.

    What is added after the start is left out, and so is what is removed before the end.

    Args:
        folder: Of the gallery.
        images: Of its image files; need not be. ``None`` to copy none.
        out: The snapshot's folder, absent or empty; absent if this fails.

    Raises:
        InvalidInput: ``out`` holds something.
        GalleryUnavailable: There is no gallery, or it cannot be read, or the copy not written.
    """
    if out.exists() and any(out.iterdir()):
        raise InvalidInput(f"a snapshot needs a folder that is absent or empty; {out} holds something")
    open_stored(folder, read_only=True).close()  # says what hinders before anything is made
    with _explained(f"the snapshot of {folder} cannot be written to {out}"), _removed_on_failure(out):
        make_folder(out)
        copy_database(folder, out / FILE_NAME)
        with closing(open_stored(out, read_only=False)) as copy:
            sums = _copy_images(folder, images, copy, out)
            count, spec = copy.count(ANY), copy.spec
        (out / LOCK_NAME).unlink()
        sums[FILE_NAME] = sha256_of(out / FILE_NAME)
        listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()
        write_file(out / SUMS_NAME, listed, out)
        sync_folder(out)
        manifest = Manifest(
            format=FORMAT,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            encoder=spec.encoder,
            dim=spec.dim,
            images=count,
            image_files=len(sums) - 1,
            total_bytes=sum((out / name).stat().st_size for name in sums),
            sums_sha256=sha256_of(out / SUMS_NAME),
        )
        write_file(out / MANIFEST_NAME, json.dumps(asdict(manifest), indent=2).encode() + b"\n", out)
        sync_folder(out)
    return manifest


def check_snapshot(snapshot: Path) -> tuple[Manifest, dict[str, str]]:
    """Check that a snapshot is complete, and each file what it was.

    Returns:
        What the snapshot says of itself, and the SHA-256 of each file by its name in the folder.

    Raises:
        SnapshotInvalid: It is not; the message names the files.
    """
    try:
        manifest = Manifest(**json.loads((snapshot / MANIFEST_NAME).read_bytes()))
        sums = (snapshot / SUMS_NAME).read_bytes()
    except FileNotFoundError as error:
        raise SnapshotInvalid(
            f"{snapshot} is not a complete snapshot: it lacks {Path(error.filename).name}; take another one"
        ) from None
    except (ValueError, TypeError) as error:
        raise SnapshotInvalid(
            f"{snapshot / MANIFEST_NAME} is damaged: {error}; use another snapshot"
        ) from None
    except OSError as error:
        raise SnapshotInvalid(f"the snapshot {snapshot} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise SnapshotInvalid(
            f"{snapshot} must be a snapshot of format {FORMAT}, got {manifest.format}; restore it with the "
            "version of this program that took it"
        )
    listed = _parsed(snapshot, sums, manifest.sums_sha256)
    if faults := list(_faults(snapshot, listed)):
        more = f"; and {len(faults) - _TOLD_FAULTS} more" if len(faults) > _TOLD_FAULTS else ""
        raise SnapshotInvalid(
            f"the snapshot {snapshot} is damaged: {'; '.join(faults[:_TOLD_FAULTS])}{more}; use another one"
        )
    return manifest, listed


def restore_snapshot(snapshot: Path, folder: Path, images: Path) -> Manifest:
    """Put a gallery and its image files back; all of it or nothing.

    SQLite's file comes first, under another name beside which no gallery is begun, and gets its own last.
    The same call ends what a kill left.

    Args:
        snapshot: Folder of the snapshot; every file is checked before one is written.
        folder: Of the gallery; must hold none.
        images: Of its image files; must hold none but those of the snapshot.

    Raises:
        SnapshotInvalid: The snapshot is incomplete or damaged; nothing is written.
        InvalidInput: There is a gallery or an image file where one shall be put; nothing is written.
        GalleryUnavailable: Another process writes there, a gallery that was moved away left changes there,
            or the disk refuses; what was written is gone.
    """
    manifest, sums = check_snapshot(snapshot)
    with _explained(f"the snapshot {snapshot} cannot be restored to {folder}"):
        make_folder(folder)
        with ExitStack() as held:
            held.callback(ProcessLock(folder / LOCK_NAME).release)
            _check_no_gallery(folder)
            there = _there_before(snapshot, sums, images)
            draft = folder / RESTORED_NAME
            # Of a restore that was broken off, what is there is gone with the rest if this one fails.
            with _put_back(images, draft, kept=set() if draft.exists() else there):
                draft.unlink(missing_ok=True)
                _copy_checked(snapshot / FILE_NAME, draft, sums[FILE_NAME])
                sync_folder(folder)
                _put_images(snapshot, sums, images, there)
                drop_index_file(folder)
                draft.replace(folder / FILE_NAME)
                sync_folder(folder)
    return manifest


def _copy_images(folder: Path, images: Path | None, copy: Store, out: Path) -> dict[str, str]:
    """Copy the files of the images in ``copy``, and drop from it what was removed meanwhile.

    Returns:
        The SHA-256 of each file by its name in the snapshot.
    """
    held = copy.image_ids()
    sums: dict[int, tuple[str, str]] = {}
    gone: Set[int] = set()
    for pause_s in looks(folder):
        time.sleep(pause_s)
        # A file comes after its record and goes before it: one on its way at first is there or gone later.
        if images is not None:
            sums |= _copy_files({place: one for place, one in held.items() if place not in sums}, images, out)
        with closing(open_stored(folder, read_only=True)) as now:
            gone = held.keys() - now.image_ids().keys()
        if images is None or held.keys() <= sums.keys() | gone:
            break
    for place in gone & sums.keys():
        (out / sums.pop(place)[0]).unlink()
    copy.delete(np.array(sorted(gone), np.int64))
    copy.purge()
    if (out / FOLDER_NAME).is_dir():
        sync_folders([out / FOLDER_NAME, *(out / FOLDER_NAME).iterdir()])
    return dict(sums.values())


def _copy_files(held: Mapping[int, str], images: Path, out: Path) -> dict[int, tuple[str, str]]:
    """Copy the files that are there; by position, each one's name in the snapshot and its SHA-256."""
    copied = {}
    for place, image_id in held.items():
        source, target = image_path(images, image_id), image_path(out / FOLDER_NAME, image_id)
        if source.exists():
            make_folder(target.parent)
            try:
                copied[place] = str(target.relative_to(out)), copy_file(source, target)
            except FileNotFoundError:
                continue  # removed between the two calls; its record goes, too
    return copied


def _parsed(snapshot: Path, sums: bytes, sums_sha256: str) -> dict[str, str]:
    """The SHA-256 of each file by its name; no name leads out of the folder."""
    if sha256_of(snapshot / SUMS_NAME) != sums_sha256:
        raise SnapshotInvalid(
            f"{snapshot / SUMS_NAME} is not what {MANIFEST_NAME} says; use another snapshot"
        )
    lines = [_SUM_LINE.fullmatch(line) for line in sums.decode().splitlines()]
    listed = {line[2]: line[1] for line in lines if line}
    if len(listed) < len(lines) or FILE_NAME not in listed:
        raise SnapshotInvalid(
            f"{snapshot / SUMS_NAME} does not list the files of a snapshot; use another one"
        )
    return listed


def _faults(snapshot: Path, sums: Mapping[str, str]) -> Iterator[str]:
    for name, digest in sums.items():
        try:
            if sha256_of(snapshot / name) != digest:
                yield f"{name} was changed"
        except FileNotFoundError:
            yield f"{name} is missing"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"


def _check_no_gallery(folder: Path) -> None:
    """Refuse to restore over a gallery, or beside what another one left."""
    if (folder / FILE_NAME).exists():
        raise InvalidInput(
            f"a snapshot is restored where no gallery is, and {folder} holds one; name another folder, or "
            "move that gallery away"
        )
    check_nothing_left(folder)


def _there_before(snapshot: Path, sums: Mapping[str, str], images: Path) -> set[Path]:
    """Which image files of the snapshot are in their places, as a restore that was broken off leaves them.

    Raises:
        InvalidInput: There are other files.
    """
    there = set()
    for path in images.rglob("*"):
        inside = path.relative_to(images)
        if not path.is_file() or inside.parts[0] == DRAFTS_NAME:
            continue
        if sums.get(str(FOLDER_NAME / inside)) != sha256_of(path):
            raise InvalidInput(
                f"a snapshot is restored where no image files are, and {images} holds files that are not of "
                f"{snapshot}, as {inside}; name another folder, or move them away"
            )
        there.add(path)
    return there


def _put_images(snapshot: Path, sums: Mapping[str, str], images: Path, there: Set[Path]) -> None:
    """Put the image files to their places, each whole or not at all."""
    remove_drafts(images)
    files = {images / Path(name).relative_to(FOLDER_NAME): name for name in sums if name != FILE_NAME}
    for target in files.keys() - there:
        draft = images / DRAFTS_NAME / target.name
        make_folder(draft.parent)
        make_folder(target.parent)
        _copy_checked(snapshot / files[target], draft, sums[files[target]])
        draft.replace(target)
    sync_folders(target.parent for target in files)


@contextmanager
def _put_back(images: Path, draft: Path, kept: Collection[Path]) -> Iterator[None]:
    """Remove all image files but those ``kept``, and ``draft``, if the body fails."""
    try:
        yield
    except BaseException:
        remove_drafts(images)
        for path in image_paths(images):
            if path not in kept and path.is_file():
                path.unlink()
        draft.unlink(missing_ok=True)
        raise


def _copy_checked(source: Path, target: Path, digest: str) -> None:
    if copy_file(source, target) != digest:
        raise SnapshotInvalid(f"{source} changed while it was restored; use another snapshot")


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    """Leave nothing in ``folder``, which was absent or empty, if the body fails."""
    try:
        yield
    except BaseException:
        if folder.is_dir():
            shutil.rmtree(folder)
        raise


@contextmanager
def _explained(task: str) -> Iterator[None]:
    """Say what the system refused."""
    try:
        yield
    except OSError as error:
        raise GalleryUnavailable(f"{task}: {error}; check the disk and its free space") from error
