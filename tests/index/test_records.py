from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from index.errors import InvalidInput
from index.records import ANY, ImageRecord, Where
from index.space import Modality

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def record(**changes: Any) -> ImageRecord:
    values: dict[str, Any] = {
        "image_id": "a",
        "modality": Modality.VISIBLE,
        "camera_id": "cam1",
        "captured_at": NOON,
        "person_id": "p",
    }
    return ImageRecord(**{**values, **changes})


def test_captured_at_is_kept_in_utc_to_the_microsecond() -> None:
    kept = record(captured_at=NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))).captured_at
    assert kept == NOON
    assert kept.utcoffset() == timedelta(0)
    assert kept.microsecond == 123456


def test_a_modality_may_come_as_its_name() -> None:
    assert record(modality="infrared").modality is Modality.INFRARED


@pytest.mark.parametrize(
    "changes",
    [
        {"image_id": ""},
        {"camera_id": ""},
        {"modality": "thermal"},
        {"captured_at": datetime(2024, 5, 1)},
        {"captured_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
        {"captured_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
        {"image_id": "a\0b"},
        {"person_id": "\ud800"},
        {"track_id": "\0"},
        {"source": "\udfff"},
    ],
)
def test_a_record_that_cannot_be_stored_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        record(**changes)


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        (ANY, True),
        (Where(modality=Modality.VISIBLE), True),
        (Where(modality=Modality.INFRARED), False),
        (Where(camera_ids=["cam1", "cam2"]), True),
        (Where(camera_ids=["cam2"]), False),
        (Where(camera_ids=[]), False),
        (Where(exclude_camera_ids=["cam1"]), False),
        (Where(exclude_camera_ids=["cam2"]), True),
        (Where(exclude_camera_ids=[]), True),
        (Where(after=NOON), True),
        (Where(after=NOON + timedelta(microseconds=1)), False),
        (Where(before=NOON), False),
        (Where(before=NOON + timedelta(microseconds=1)), True),
        (Where(person_ids=["p"]), True),
        (Where(person_ids=["q"]), False),
        (Where(person_ids=[]), False),
        (Where(image_ids=["a", "b"]), True),
        (Where(image_ids=["b"]), False),
        (Where(image_ids=["a"], camera_ids=["cam2"]), False),
    ],
)
def test_a_filter_passes_what_it_says(where: Where, passes: bool) -> None:
    assert where.matches(record()) is passes


def test_an_unlabelled_image_is_nobody() -> None:
    assert not Where(person_ids=["p"]).matches(record(person_id=None))


@pytest.mark.parametrize(
    "conditions",
    [
        {"camera_ids": "cam1"},
        {"image_ids": "a"},
        {"after": datetime(2024, 5, 1)},
        {"before": datetime(2024, 5, 1)},
        {"person_ids": ["p\0"]},
        {"exclude_camera_ids": ["\ud800"]},
    ],
)
def test_a_filter_that_no_record_can_answer_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Where(**conditions)


def test_equal_filters_are_equal_however_their_lists_were_given() -> None:
    assert Where(camera_ids=["a", "b"]) == Where(camera_ids=("b", "a", "a"))
    assert Where() == ANY
