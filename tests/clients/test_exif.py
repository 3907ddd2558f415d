"""When a picture was taken: the client's reader of EXIF, with Pillow as what writes the files."""

import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from client_site import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from peca_client import captured_at
from peca_client.exif import exif_moment

TAKEN, OFFSET = ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal
HERE = datetime(2026, 2, 3, 4, 5, 6).astimezone()
FILE_TIME = 1_700_000_000
OF_THE_FILE = datetime.fromtimestamp(FILE_TIME, UTC)


def tagged(form: str, tags: dict[int, object], order: str = "<") -> bytes:
    exif = Image.Exif()
    exif.endian = order
    # A tag before the others, longer than its entry, as cameras have them.
    exif[ExifTags.Base.Make] = "A maker of cameras"
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    return picture(1, form, exif=exif.tobytes())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("offset", ["+02:00", "-11:30"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_each_form_says_when(form: str, offset: str, order: str) -> None:
    data = tagged(form, {TAKEN: "2026:02:03 04:05:06", OFFSET: offset}, order)
    assert exif_moment(io.BytesIO(data)) == datetime.fromisoformat(f"2026-02-03T04:05:06{offset}")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({TAKEN: "2026:02:03 04:05:06"}, HERE),
        ({TAKEN: "2026:02:03 04:05:06", OFFSET: "   :  "}, HERE),
        ({TAKEN: "0000:00:00 00:00:00"}, OF_THE_FILE),
        ({TAKEN: 7}, OF_THE_FILE),
        ({OFFSET: "+02:00"}, OF_THE_FILE),
    ],
)
def test_cameras_that_say_less(tmp_path: Path, tags: dict[int, object], expected: datetime) -> None:
    path = tmp_path / "exif.jpg"
    path.write_bytes(tagged("JPEG", tags))
    os.utime(path, (FILE_TIME, FILE_TIME))
    assert captured_at(path) == captured_at(str(path)) == expected
    assert captured_at(path).tzinfo is UTC


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_picture_without_exif(form: str) -> None:
    assert exif_moment(io.BytesIO(picture(1, form))) is None


@given(st.data())
def test_a_broken_file_only_says_nothing(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]))
    whole = bytearray(tagged(form, {TAKEN: "2026:02:03 04:05:06"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, min(len(whole), 400) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    moment = exif_moment(io.BytesIO(broken))
    assert moment is None or moment.tzinfo is UTC


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_of_a_large_picture_only_the_head_is_read(tmp_path: Path, form: str) -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    taken = {TAKEN: "2026:02:03 04:05:06", OFFSET: "+02:00"}
    file = Counted(tagged(form, taken) + bytes(5_000_000))
    assert exif_moment(file) == datetime.fromisoformat("2026-02-03T04:05:06+02:00")
    assert file.taken < 5_000
