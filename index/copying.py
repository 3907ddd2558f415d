"""A gallery copied into another engine or another place, and compared with what it was copied from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.gallery import Gallery, Source
from index.records import ImageRecord, Where
from index.wording import counted

TOLERANCE = 2e-3
"""Largest difference of a component of a unit vector, between engines that store it in 32 and in 16 bits."""

_NAMED = 20
_AT_ONCE = 1024

Progress = Callable[[int], None]
_Image = tuple[ImageRecord, NDArray[np.float32]]


@dataclass(slots=True)
class CopyReport:
    """What a copy did and what the comparison found.

    Attributes:
        source_images: What the source holds.
        target_images: What the target holds now.
        added: Stored in this run.
        unchanged: Stored before, as by a run that was broken off.
        removed: Removed from the target in this run, since the source does not hold them.
        replaced: Stored anew in this run, since the target held them with another record or vector.
        verified: Of which record and vector agree.
        largest_difference: Of any component of any vector.
        faults: A sentence for each of the first faults; empty where the copy is whole.
        fault_count: Of all faults.
        needs_mirror: Whether a fault is of what only a mirroring copy removes or replaces.
    """

    source_images: int = 0
    target_images: int = 0
    added: int = 0
    unchanged: int = 0
    removed: int = 0
    replaced: int = 0
    verified: int = 0
    largest_difference: float = 0.0
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0
    needs_mirror: bool = False

    def fault(self, sentence: str) -> None:
        """Count a fault, and keep its sentence if it is among the first."""
        self.fault_count += 1
        if len(self.faults) < _NAMED:
            self.faults.append(sentence)


@dataclass(frozen=True, slots=True)
class Difference:
    """What stands in the way of a target that holds the same as its source, by ``image_id``.

    Attributes:
        extra: Images that only the target holds.
        changed: Images of which the target holds another record or vector.
        missing: How many images only the source holds.
    """

    extra: Sequence[str]
    changed: Sequence[str]
    missing: int


def difference(source: Source, target: Source) -> Difference:
    """What a mirroring copy would remove, replace and add; only reads.

    Raises:
        InvalidInput: The target holds images, and none of the source's: it is no copy of it.
        GalleryUnavailable: One of the two cannot be read.
    """
    changed, missing, common = [], 0, 0
    for records, rows in source.vectors():
        stored = _stored(target, records)
        common += len(stored)
        missing += len(records) - len(stored)
        changed += [
            record.image_id
            for record, row in zip(records, rows, strict=True)
            if record.image_id in stored and not _same(stored[record.image_id], (record, row))
        ]
    if not common and (held := target.count()):
        raise InvalidInput(
            f"the target holds {counted(held, 'image')} and none of the source's, so it is no copy of it; "
            "nothing was changed; check the two addresses"
        )
    extra: list[str] = []
    for records in target.records():
        ids = [record.image_id for record in records]
        known = {record.image_id for page in source.records(Where(image_ids=ids)) for record in page}
        extra += [image_id for image_id in ids if image_id not in known]
    return Difference(extra, changed, missing)


def copy_gallery(
    source: Source, target: Gallery, progress: Progress = lambda _: None, *, mirror: bool = False
) -> CopyReport:
    """Store in ``target`` what ``source`` holds, in the same order, then compare the two.

    A run that was broken off is resumed by another: what is stored already is left as it is. Without
    ``mirror`` nothing is removed from either gallery, and what only ``target`` holds, or holds otherwise, is
    a fault of the copy.

    Args:
        source: Read.
        target: Of the same encoder; written.
        progress: Told how many images more were copied or compared; each is both once.
        mirror: Before that, remove from ``target`` what ``difference`` names.

    Returns:
        What was done. The copy is whole if it names no fault.

    Raises:
        InvalidInput: ``mirror`` was asked for a target that is no copy of the source.
        GalleryUnavailable: One of the two cannot be read or written; run the copy again.
    """
    report = CopyReport()
    replaced: set[str] = set()
    if mirror:
        found = difference(source, target)
        report.removed = _remove(target, found.extra)
        _remove(target, found.changed)
        replaced.update(found.changed)
    for records, rows in source.vectors():
        added = target.add(records, rows)
        anew = sum(image_id in replaced for image_id in added.added)
        report.added += len(added.added) - anew
        report.replaced += anew
        report.unchanged += len(added.unchanged)
        progress(len(records))
    for records, rows in source.vectors():
        _compare(records, rows, target, report)
        progress(len(records))
    report.source_images, report.target_images = source.count(), target.count()
    if report.target_images != report.source_images:
        report.needs_mirror |= report.target_images > report.source_images
        report.fault(
            f"the source holds {counted(report.source_images, 'image')}, the target {report.target_images:,}"
        )
    return report


def _compare(
    records: list[ImageRecord], rows: NDArray[np.float32], target: Source, report: CopyReport
) -> None:
    """Hold a page of the source against what the target gives back for it."""
    stored = _stored(target, records)
    for record, row in zip(records, rows, strict=True):
        found = stored.get(record.image_id)
        if found is None:
            report.fault(f"image {record.image_id!r} is missing in the target")
            continue
        report.largest_difference = max(report.largest_difference, _apart(found[1], row))
        if _same(found, (record, row)):
            report.verified += 1
        else:
            report.needs_mirror = True
            what = "record" if found[0] != record else "vector"
            report.fault(f"image {record.image_id!r} has another {what} in the target")


def _stored(gallery: Source, records: list[ImageRecord]) -> dict[str, _Image]:
    return {record.image_id: (record, row) for record, row in images(gallery, records)}


def _same(stored: _Image, copied: _Image) -> bool:
    return stored[0] == copied[0] and _apart(stored[1], copied[1]) <= TOLERANCE


def _apart(stored: NDArray[np.float32], copied: NDArray[np.float32]) -> float:
    """The largest difference of a component of two vectors."""
    return float(np.abs(stored - copied).max())


def _remove(gallery: Gallery, image_ids: Sequence[str]) -> int:
    return sum(
        gallery.remove(Where(image_ids=image_ids[start : start + _AT_ONCE]))
        for start in range(0, len(image_ids), _AT_ONCE)
    )


def images(gallery: Source, records: list[ImageRecord]) -> Iterator[tuple[ImageRecord, NDArray[np.float32]]]:
    """Record and (D,) unit vector of those images that ``gallery`` holds of ``records``."""
    for found, rows in gallery.vectors(Where(image_ids=[record.image_id for record in records])):
        yield from zip(found, rows, strict=True)
