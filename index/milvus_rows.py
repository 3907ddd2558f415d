"""A record as a row of Milvus, and a filter as an expression over such rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.records import ImageRecord, Where
from index.space import Modality

SCALARS = ("image_id", "position", "modality", "camera_id", "captured_at", "person_id", "track_id", "source")
VECTOR = "vector"
LONGEST_TEXT = 65_535
"""Bytes, Milvus's limit of a text field."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# What stands as itself: an expression needs no escapes then, and holds nothing of a user's but a value.
_PLAIN = " !#$&()*+,/:;<=>?@[]^`{|}~"
# Before a text that may also be absent; Milvus's fields know no null.
_PRESENT = "="


@dataclass(frozen=True, slots=True)
class Row:
    """One stored image.

    Attributes:
        record: Its record.
        position: Its place in the order of adding: grows with time.
        vector: (D,) float32 of unit length; of no length where it was not asked for.
    """

    record: ImageRecord
    position: int
    vector: NDArray[np.float32]

    @property
    def order(self) -> tuple[int, str]:
        """What orders rows by their adding; two processes may give one position."""
        return self.position, self.record.image_id


def encoded(row: Row) -> dict[str, Any]:
    """``row`` as pymilvus takes it.

    Raises:
        InvalidInput: A text is longer than Milvus stores.
    """
    record = row.record
    columns: dict[str, Any] = {
        "image_id": text(record.image_id),
        "position": row.position,
        "modality": record.modality.value,
        "camera_id": text(record.camera_id),
        "captured_at": microseconds(record.captured_at),
        "person_id": _optional(record.person_id),
        "track_id": _optional(record.track_id),
        "source": _optional(record.source),
        VECTOR: row.vector,
    }
    for name, value in columns.items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise InvalidInput(
                f"{name} of image {record.image_id[:80]!r} is too long for Milvus: {len(value):,} characters "
                f"with its escapes, at most {LONGEST_TEXT:,}"
            )
    return columns


def decoded(columns: Mapping[str, Any]) -> Row:
    """What ``encoded`` wrote."""
    record = ImageRecord(
        unquote(columns["image_id"]),
        Modality(columns["modality"]),
        unquote(columns["camera_id"]),
        moment(columns["captured_at"]),
        *(_given(columns[name]) for name in ("person_id", "track_id", "source")),
    )
    return Row(record, columns["position"], np.asarray(columns.get(VECTOR, ()), np.float32))


def condition(where: Where) -> str | None:
    """``where`` but for its modality, as an expression; ``None`` where nothing can pass it."""
    lists = [
        ("camera_id", where.camera_ids, text),
        ("person_id", where.person_ids, _optional),
        ("track_id", where.track_ids, _optional),
        ("image_id", where.image_ids, text),
    ]
    if any(values is not None and not values for _, values, _ in lists):
        return None
    tests = [f"{name} in {listed(map(write, values))}" for name, values, write in lists if values is not None]
    if where.exclude_camera_ids:
        tests.append(f"camera_id not in {listed(map(text, where.exclude_camera_ids))}")
    if where.after is not None:
        tests.append(f"captured_at >= {microseconds(where.after)}")
    if where.before is not None:
        tests.append(f"captured_at < {microseconds(where.before)}")
    return " and ".join(tests)


def partitions(where: Where) -> list[str]:
    """The partitions in which images that pass ``where`` lie: one a modality."""
    return [modality.value for modality in Modality if where.modality in (None, modality)]


def listed(values: "Collection[str] | map[str]") -> str:
    """Encoded texts as an expression lists them."""
    return "[" + ",".join(f'"{value}"' for value in sorted(values)) + "]"


def text(value: str) -> str:
    """``value`` without quotes, backslashes, percent signs, control characters or anything beyond ASCII."""
    return quote(value, safe=_PLAIN)


def microseconds(instant: datetime) -> int:
    """Since 1970 in UTC, exact."""
    return (instant - _EPOCH) // _MICROSECOND


def moment(since_1970: int) -> datetime:
    """The instant of so many microseconds since 1970."""
    return _EPOCH + since_1970 * _MICROSECOND


def _optional(value: str | None) -> str:
    return "" if value is None else _PRESENT + text(value)


def _given(column: str) -> str | None:
    return unquote(column.removeprefix(_PRESENT)) if column else None
