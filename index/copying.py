"""A gallery copied into another engine or another place, and compared with what it was copied from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from index.gallery import Gallery
from index.records import ImageRecord, Where
from index.wording import counted

TOLERANCE = 2e-3
"""Largest difference of a component of a unit vector, between engines that store it in 32 and in 16 bits."""

_NAMED = 20

Progress = Callable[[int], None]


@dataclass(slots=True)
class CopyReport:
    """What a copy did and what the comparison found.

    Attributes:
        source_images: What the source holds.
        target_images: What the target holds now.
        added: Stored in this run.
        unchanged: Stored before, as by a run that was broken off.
        verified: Of which record and vector agree.
        largest_difference: Of any component of any vector.
        faults: A sentence for each of the first faults; empty where the copy is whole.
        fault_count: Of all faults.
    """

    source_images: int = 0
    target_images: int = 0
    added: int = 0
    unchanged: int = 0
    verified: int = 0
    largest_difference: float = 0.0
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def fault(self, sentence: str) -> None:
        """Count a fault, and keep its sentence if it is among the first."""
        self.fault_count += 1
        if len(self.faults) < _NAMED:
            self.faults.append(sentence)


def copy_gallery(source: Gallery, target: Gallery, progress: Progress = lambda _: None) -> CopyReport:
    """Store in ``target`` what ``source`` holds, in the same order, then compare the two.

    A run that was broken off is resumed by another: what is stored already is left as it is. Nothing is
    removed from either gallery; what only ``target`` holds is a fault of the copy.

    Args:
        source: Read.
        target: Of the same encoder; written.
        progress: Told how many images more were copied or compared; each is both once.

    Returns:
        What was done. The copy is whole if it names no fault.

    Raises:
        GalleryUnavailable: One of the two cannot be read or written; run the copy again.
    """
    report = CopyReport()
    for records, rows in source.vectors():
        added = target.add(records, rows)
        report.added += len(added.added)
        report.unchanged += len(added.unchanged)
        progress(len(records))
    for records, rows in source.vectors():
        _compare(records, rows, target, report)
        progress(len(records))
    report.source_images, report.target_images = source.count(), target.count()
    if report.target_images != report.source_images:
        report.fault(
            f"the source holds {counted(report.source_images, 'image')}, the target {report.target_images:,}"
        )
    return report


def _compare(
    records: list[ImageRecord], rows: NDArray[np.float32], target: Gallery, report: CopyReport
) -> None:
    """Hold a page of the source against what the target gives back for it."""
    stored = {record.image_id: (record, row) for record, row in images(target, records)}
    for record, row in zip(records, rows, strict=True):
        found = stored.get(record.image_id)
        if found is None:
            report.fault(f"image {record.image_id!r} is missing in the target")
            continue
        difference = float(np.abs(found[1] - row).max())
        report.largest_difference = max(report.largest_difference, difference)
        if found[0] != record:
            report.fault(f"image {record.image_id!r} has another record in the target")
        elif difference > TOLERANCE:
            report.fault(f"image {record.image_id!r} has another vector in the target")
        else:
            report.verified += 1


def images(gallery: Gallery, records: list[ImageRecord]) -> Iterator[tuple[ImageRecord, NDArray[np.float32]]]:
    """Record and (D,) unit vector of those images that ``gallery`` holds of ``records``."""
    for found, rows in gallery.vectors(Where(image_ids=[record.image_id for record in records])):
        yield from zip(found, rows, strict=True)
