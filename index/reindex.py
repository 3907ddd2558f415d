"""The images of a gallery embedded anew by another encoder, beside the vectors that are in use."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import time

import numpy as np
from numpy.typing import NDArray

from index.errors import GalleryUnavailable, InvalidInput
from index.files import make_folder, sync_folder, write_file
from index.gallery import Gallery, Source
from index.images import DRAFTS_NAME, image_path
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec, Modality

MARK_NAME = "reindex.json"
_AT_ONCE = 64
_CLOCK_S = 2.0
"""How far the time stamps of a file system may lag behind the clock."""

Decode = Callable[[bytes], NDArray[np.uint8]]
Encode = Callable[[NDArray[np.uint8], Sequence[Modality]], NDArray[np.float32]]
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class NewEncoder:
    """The encoder whose vectors shall take the place of those in use.

    Attributes:
        spec: What it makes.
        decode: An image file to (H, W, 3) uint8 of its size; raises ``InvalidInput`` where it cannot.
        encode: (N, H, W, 3) uint8 and N modalities to (N, D) float32 unit rows.
    """

    spec: EmbeddingSpec
    decode: Decode
    encode: Encode


@dataclass(slots=True)
class Pass:
    """What one pass over a gallery did.

    Attributes:
        embedded: Images embedded by it.
        already: Images that the new generation held before.
        removed: Images that it held and the gallery no longer does.
        left: By ``image_id``, why an image could not be embedded.
    """

    embedded: int = 0
    already: int = 0
    removed: int = 0
    left: dict[str, str] = field(default_factory=dict)


def empty_if_stale(new: Gallery, images: Path, encoder: NewEncoder) -> None:
    """Empty a generation from before the gallery went to yet another encoder and now comes back.

    Which of its images got another file since is not known any more.

    Raises:
        GalleryUnavailable: It cannot be written.
    """
    if _last_pass(images.parent, encoder.spec) is None and new.count():
        new.remove(ANY)


def follow(
    old: Source, new: Gallery, images: Path, encoder: NewEncoder, progress: Progress = lambda _: None
) -> Pass:
    """Bring ``new`` to the images that ``old`` holds; every batch is durable, so a killed pass is resumed.

    An image that ``new`` holds is embedded again if its record differs, or if its file was written since
    the last whole pass began (or the first pass, where none was whole). No vector is read, so that a pass
    which finds little to do is short: while the last one goes, nobody may write ``old``.

    Args:
        old: The gallery in use; only read.
        new: The generation that is made.
        images: The folder of image files.
        encoder: Of ``new``.
        progress: Told how many images of ``old`` more were looked at.

    Raises:
        GalleryUnavailable: One of the two cannot be read or written.
    """
    began, since = time(), _last_pass(images.parent, encoder.spec)
    if since is None:
        _mark_pass(images, encoder.spec, began)
        since = float("inf")
    done = Pass()
    for records in old.records():
        held = {record.image_id: record for record in _held(new, records)}
        todo = [
            record
            for record in records
            if held.get(record.image_id) != record or _written(images, record.image_id) >= since
        ]
        done.already += len(records) - len(todo)
        for some in _chunks(todo, _AT_ONCE):
            _embed(some, held, new, images, encoder, done)
            progress(len(some))
        progress(len(records) - len(todo))
    if new.count() > done.embedded + done.already:
        for records in new.records():
            kept = {record.image_id for record in _held(old, records)}
            gone = [record.image_id for record in records if record.image_id not in kept]
            if gone:
                done.removed += new.remove(Where(image_ids=gone))
    _mark_pass(images, encoder.spec, began)
    return done


def _held(gallery: Source, records: Sequence[ImageRecord]) -> Iterator[ImageRecord]:
    """The records that ``gallery`` holds under the ids of these."""
    for page in gallery.records(Where(image_ids=[record.image_id for record in records])):
        yield from page


def _embed(
    records: Sequence[ImageRecord],
    held: dict[str, ImageRecord],
    new: Gallery,
    images: Path,
    encoder: NewEncoder,
    done: Pass,
) -> None:
    """Embed some images and let ``new`` hold them, in the place of what it held of them."""
    readable, pixels = [], []
    for record in records:
        try:
            pixels.append(encoder.decode(image_path(images, record.image_id).read_bytes()))
            readable.append(record)
        except FileNotFoundError:
            done.left[record.image_id] = "has no file"
        except OSError as error:
            done.left[record.image_id] = f"cannot be read: {error.strerror}"
        except InvalidInput as error:
            done.left[record.image_id] = f"is no image that can be used: {error}"
    if not readable:
        return
    vectors = encoder.encode(np.stack(pixels), [record.modality for record in readable])
    report = new.add(readable, vectors)
    if report.conflicting:
        new.remove(Where(image_ids=report.conflicting))
        new.add(readable, vectors)
    before = sum(record.image_id in held for record in readable) - len(report.conflicting)
    done.embedded += len(readable) - before
    done.already += before


def _written(images: Path, image_id: str) -> float:
    """When the file of an image was written, in seconds since 1970; never where there is none."""
    try:
        return image_path(images, image_id).stat().st_mtime
    except OSError:
        return float("-inf")


def _last_pass(folder: Path, spec: EmbeddingSpec) -> float | None:
    """When the last whole pass of this encoder began, in seconds since 1970; ``None`` before the first."""
    try:
        mark = json.loads((folder / MARK_NAME).read_bytes())
        same = (mark["dim"], mark["encoder"]) == (spec.dim, spec.encoder)
        return float(mark["began_at"]) - _CLOCK_S if same else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GalleryUnavailable(f"{folder / MARK_NAME} cannot be read ({error}); remove it") from error


def _mark_pass(images: Path, spec: EmbeddingSpec, began: float) -> None:
    folder, drafts = images.parent, images / DRAFTS_NAME
    mark = {"encoder": spec.encoder, "dim": spec.dim, "began_at": began}
    try:
        make_folder(drafts)
        write_file(folder / MARK_NAME, json.dumps(mark).encode(), drafts)
        sync_folder(folder)
    except OSError as error:
        raise GalleryUnavailable(f"{folder / MARK_NAME} cannot be written: {error}") from error


def _chunks(records: Iterable[ImageRecord], size: int) -> Iterator[list[ImageRecord]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk
