"""`peca search` by several crops, by a stored image, by track, re-ranked, and with the light judged."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from client_site import NIGHT, Server, picture
from PIL import Image

from index.images import FOLDER_NAME, image_path
from peca_client import ImageUpload, PecaClient

Peca = Callable[..., tuple[int, str, str]]
CAMERA = "cli-search"


@pytest.fixture
def crops(tmp_path: Path, client: PecaClient) -> list[Path]:
    """Crops of persons 1 and 2; the gallery has a track of four infrared images of each of 0 to 3."""
    client.add_images(
        [
            ImageUpload(
                picture(person, quality=95 - 10 * shot),
                CAMERA,
                "infrared",
                NIGHT + timedelta(minutes=shot),
                f"cli-{person}-{shot}",
                track_id=f"t{person}",
            )
            for person in range(4)
            for shot in range(4)
        ]
    )
    paths = [tmp_path / f"{person}.jpg" for person in (1, 2)]
    for person, path in zip((1, 2), paths, strict=True):
        path.write_bytes(picture(person))
    return paths


@pytest.fixture
def ask(peca: Peca, server: Server) -> Peca:
    def run(*arguments: object) -> tuple[int, str, str]:
        return peca("search", *arguments, "--camera-id", CAMERA, "--url", server.url, "--api-key", server.key)

    return run


def test_several_crops_are_one_query(ask: Peca, crops: list[Path]) -> None:
    code, out, err = ask(crops[0], crops[1], "--query-modality", "visible", "--limit", "8", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert {item["track_id"] for item in result["items"]} == {"t1", "t2"}
    assert len(result["query_modalities"]) == 2
    only = json.loads(ask(crops[0], "--query-modality", "visible", "--limit", "4", "--json")[1])
    assert {item["track_id"] for item in only["items"]} == {"t1"}


def test_one_result_a_track(ask: Peca, crops: list[Path]) -> None:
    code, out, _ = ask(crops[0], "--query-modality", "visible", "--group-by", "track_id", "--exact")
    assert code == 0
    assert "4 found in infrared images; search" in out
    assert "images" in out.splitlines()[1]
    row = next(line for line in out.splitlines() if "cli-1-" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][-2:] == ["t1", "4"]


def test_a_reranked_answer_says_so(ask: Peca, crops: list[Path]) -> None:
    code, out, _ = ask(crops[0], "--query-modality", "visible", "--rerank")
    assert code == 0
    assert "16 found in infrared images, ordered by shared neighbours, not by score; search" in out


def test_the_light_is_judged_and_told(ask: Peca, crops: list[Path], tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.open(io.BytesIO(picture(1))).convert("L").save(grey)
    code, out, _ = ask(crops[0])
    assert code == 0
    assert "query image 1 was taken for visible (confidence " in out
    code, out, _ = ask(grey, "--query-modality", "auto", "--gallery-modality", "infrared")
    assert "query image 1 was taken for infrared (confidence 1.00)" in out
    assert "cli-1-" in out


def test_a_stored_image_is_a_query(ask: Peca, crops: list[Path]) -> None:
    code, out, err = ask("--image-id", "cli-2-0", "--gallery-modality", "infrared", "--limit", "3", "--json")
    assert code == 0, err
    assert sorted(item["image_id"] for item in json.loads(out)["items"]) == ["cli-2-1", "cli-2-2", "cli-2-3"]
    code, out, err = ask("--image-id", "nothing")
    assert (code, out) == (1, "")
    assert "404" in err


def test_what_a_search_asks_by_must_be_clear(ask: Peca, crops: list[Path]) -> None:
    for arguments, told in (
        ((), "--image-id"),
        ((crops[0], "--image-id", "cli-2-0"), "in place of IMAGE"),
        (("--image-id", "cli-2-0", "--query-modality", "auto"), "in place of IMAGE"),
        ((crops[0], "--query-modality", "visible", "--group-by", "person_id"), "person_id"),
    ):
        code, _, err = ask(*arguments)
        assert code == 2
        assert told in err


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as sheet:
        counted = sheet.convert("RGB").getcolors(sheet.width * sheet.height)
    return {colour for _, colour in counted}


QUERY, SAME = (0xF2, 0xB8, 0x4B), (0x3D, 0xDC, 0x84)


def test_a_search_is_shown_as_a_picture(ask: Peca, crops: list[Path], tmp_path: Path) -> None:
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    by = (crops[0], "--query-modality", "visible")
    code, out, err = ask(*by, "--limit", "3", "--show", few)
    assert code == 0, err
    assert f"sheet: {few}" in out
    assert QUERY in colours(few)
    assert SAME not in colours(few)
    code, out, _ = ask(*by, crops[1], "--limit", "16", "--show", many, "--json")
    assert code == 0
    assert len(json.loads(out)["items"]) == 16
    with Image.open(few) as three, Image.open(many) as sixteen:
        # Three beside the query in one row; eight beside it in each of two rows.
        assert sixteen.width > 2 * three.width
        assert sixteen.height > 1.7 * three.height


def test_a_picture_that_is_gone_leaves_its_frame_empty(
    ask: Peca, crops: list[Path], tmp_path: Path, server: Server
) -> None:
    whole, gap = tmp_path / "whole.png", tmp_path / "gap.png"
    by = ("--query-modality", "visible", "--limit", "4", "--show")
    assert ask(crops[0], *by, whole)[0] == 0
    file = image_path(server.data / FOLDER_NAME, "cli-1-3")
    data = file.read_bytes()
    file.unlink()
    code, _, err = ask(crops[0], *by, gap)
    file.write_bytes(data)
    assert code == 0, err
    with Image.open(whole) as one, Image.open(gap) as other:
        assert one.size == other.size
        differ = np.asarray(one.convert("L"), int) != np.asarray(other.convert("L"), int)
        # One cell of 240 by 120 of the five, and perhaps the last number of the note.
        assert 0.5 * 240 * 120 < differ.sum() < 1.1 * 240 * 120


def test_a_picture_is_promised_only_where_it_can_be_written(
    ask: Peca, crops: list[Path], tmp_path: Path
) -> None:
    for path, told in ((tmp_path / "sheet.txt", ".png"), (tmp_path / "nowhere/sheet.png", "nowhere")):
        code, out, err = ask(crops[0], "--query-modality", "visible", "--show", path)
        assert (code, out) == (1, "")
        assert told in err


def test_a_picture_of_a_labelled_query_frames_its_person(
    ask: Peca, client: PecaClient, crops: list[Path], tmp_path: Path
) -> None:
    labelled = [
        ImageUpload(
            picture(20, quality=90 - shot),
            "a camera whose name is far too long for a caption",
            light,
            NIGHT,
            f"labelled-{light}-{shot}",
            person_id="Ada",
        )
        for light in ("visible", "infrared")
        for shot in range(2)
    ]
    client.add_images(labelled)
    sheet = tmp_path / "sheet.webp"
    arguments = ("--image-id", "labelled-visible-0", "--camera-id", labelled[0].camera_id, "--show", sheet)
    code, _, err = ask(*arguments)
    assert code == 0, err
    assert any(max(abs(a - b) for a, b in zip(SAME, colour, strict=True)) < 12 for colour in colours(sheet))


def test_a_search_that_finds_nothing_still_shows_its_query(
    ask: Peca, crops: list[Path], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    code, out, err = ask(
        crops[0], "--query-modality", "visible", "--before", "1999-01-01T00:00:00Z", "--show", sheet
    )
    assert code == 0, err
    assert out.startswith("nothing found in infrared images; search ")
    assert "peca-client cameras" in out
    assert QUERY in colours(sheet)
