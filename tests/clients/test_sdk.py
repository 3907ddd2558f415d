"""The SDK against a real server process; each call by the blocking and by the asynchronous client."""

import inspect
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from client_site import NIGHT, REPOSITORY, Server, picture

import peca_client
from peca_client import (
    AsyncPecaClient,
    AuthenticationError,
    ConnectionFailed,
    ImageUpload,
    IngestStatus,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    PecaClient,
    TooLarge,
    UnreadableImage,
)


def upload(person: int, camera_id: str, **said: object) -> ImageUpload:
    return ImageUpload(picture(person), camera_id, "infrared", NIGHT, **said)


def test_the_two_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(function).parameters)
            for name, function in public
            if not name.startswith("_")
        }

    both = {**methods(PecaClient), "aclose": methods(PecaClient)["close"]}
    del both["close"]
    assert methods(AsyncPecaClient) == both


def test_store_search_look_and_delete(call: Callable[..., object]) -> None:
    camera = f"round-{call.name}"
    items = [
        upload(p, camera, image_id=f"{camera}-{p}", person_id=str(p), track_id="t1", source="s")
        for p in range(5)
    ]
    assert call("add_images", items).stored == 5
    assert call("add_images", items).unchanged == 5

    result = call("search", picture(3), "visible", camera_ids=[camera], limit=2)
    assert [hit.rank for hit in result.items] == [1, 2]
    best = result.items[0]
    assert (best.image_id, best.person_id, best.track_id, best.camera_id) == (
        f"{camera}-3",
        "3",
        "t1",
        camera,
    )
    assert best.score == pytest.approx(1.0, abs=1e-5)
    assert best.captured_at == NIGHT
    assert best.modality is peca_client.Modality.INFRARED
    assert result.encoder == "grey-pixels-32x16"
    assert result.timings_ms["total"] > 0

    image = call("image", best.image_id)
    assert (image.source, image.captured_at, image.person_id) == ("s", NIGHT, "3")
    assert call("thumbnail", best.image_id).startswith(b"\xff\xd8")
    assert call("image_file", best.image_id) == picture(3)
    summary = {one.camera_id: one for one in call("cameras")}[camera]
    assert (summary.count, summary.first_captured_at, summary.last_captured_at) == (5, NIGHT, NIGHT)
    call("delete_image", best.image_id)
    with pytest.raises(NotFound):
        call("delete_image", best.image_id)


def test_filters_reach_the_server(call: Callable[..., object]) -> None:
    camera = f"filters-{call.name}"
    call("add_images", [upload(p, camera, image_id=f"{camera}-{p}") for p in range(3)])

    def found(**options: object) -> int:
        return len(call("search", picture(0), "infrared", gallery_modality="infrared", **options).items)

    assert found(camera_ids=[camera]) == 3
    assert found(camera_ids=[camera], exclude_camera_ids=[camera]) == 0
    assert found(camera_ids=[camera], after=NIGHT) == 3
    assert found(camera_ids=[camera], before=NIGHT) == 0
    assert found(camera_ids=[camera], after=NIGHT + timedelta(seconds=1)) == 0
    assert found(camera_ids=[camera], score_threshold=0.999) == 1
    assert len(call("search", picture(0), "infrared", camera_ids=[camera]).items) == 0


def test_case_and_reason_stand_in_the_audit_log(call: Callable[..., object], server: Server) -> None:
    reason = f"reason {call.name}"
    result = call("search", picture(0), "visible", case="2026-117", reason=reason)
    log = (server.data / "audit.jsonl").read_text()
    line = next(line for line in log.splitlines() if result.search_id in line)
    assert "2026-117" in line
    assert reason in line


def test_bytes_path_and_file_are_the_same_image(call: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "night.jpg"
    path.write_bytes(picture(9))
    for number, image in enumerate((picture(9), path, str(path), io.BytesIO(picture(9)))):
        report = call("add_images", [ImageUpload(image, f"same-{call.name}", "infrared", NIGHT)])
        expected = IngestStatus.STORED if number == 0 else IngestStatus.UNCHANGED
        assert report.items[0].status is expected
    with path.open("rb") as file:
        assert call("search", file, "visible", camera_ids=[f"same-{call.name}"]).items


def test_a_text_file_is_no_image(call: Callable[..., object]) -> None:
    with pytest.raises(InvalidArgument, match="binary"):
        call("search", io.StringIO("text"), "visible")


def test_a_bad_image_is_refused_alone(call: Callable[..., object]) -> None:
    camera = f"bad-{call.name}"
    items = [
        upload(1, camera, filename="same name.jpg"),
        ImageUpload(b"no image", camera, "infrared", NIGHT, filename="same name.jpg"),
        ImageUpload(b"", camera, "infrared", NIGHT, image_id="empty"),
    ]
    report = call("add_images", items)
    assert [item.status for item in report.items] == ["stored", "refused", "refused"]
    assert [item.filename for item in report.items] == ["same name.jpg", "same name.jpg", "image"]
    assert report.items[1].problem["status"] == 415
    assert report.items[1].reason
    assert report.items[2].image_id == "empty"
    only_bad = call("add_images", items[1:])
    assert (only_bad.refused, len(only_bad.items)) == (2, 2)


def test_an_id_that_is_taken_is_a_conflict(call: Callable[..., object]) -> None:
    camera = f"taken-{call.name}"
    call("add_images", [upload(1, camera, image_id=camera)])
    report = call("add_images", [upload(2, camera, image_id=camera)])
    assert report.conflict == 1
    assert camera in report.items[0].reason


def test_ingest_streams_in_batches(call: Callable[..., object]) -> None:
    taken: list[int] = []
    ahead: list[int] = []

    def uploads():
        for person in range(7):
            taken.append(person)
            yield upload(person, f"stream-{call.name}", filename=f"{person}.jpg")

    report = call("ingest", uploads(), 3, lambda batch: ahead.append(len(taken) - len(batch.items)))
    assert report.stored == 7
    assert [item.filename for item in report.items] == [f"{person}.jpg" for person in range(7)]
    assert ahead == [1, 4, 6], "a batch is sent as soon as the next image shows that it is full"
    assert call("ingest", []).items == ()


def test_ingest_halves_a_batch_that_the_server_finds_too_large(call: Callable[..., object]) -> None:
    items = [upload(person, f"halves-{call.name}") for person in range(40)]
    with pytest.raises(TooLarge):
        call("add_images", items)
    large = ImageUpload(picture(50) + b"\0" * 100_000, "halves", "infrared", NIGHT, filename="large.jpg")
    report = call("ingest", [*items, large], 41)
    assert (report.stored, report.refused) == (40, 1)
    assert report.items[-1].filename == "large.jpg"
    assert report.items[-1].problem["status"] == 413


def test_a_file_that_cannot_be_read_is_refused_in_the_report(
    call: Callable[..., object], tmp_path: Path
) -> None:
    gone = ImageUpload(tmp_path / "gone.jpg", "gone", "infrared", NIGHT, image_id="gone")
    folder = ImageUpload(tmp_path, "gone", "infrared", NIGHT, filename="a folder")
    items = [upload(1, f"gone-{call.name}", filename="1"), gone, upload(2, f"gone-{call.name}"), folder]
    told: list[int] = []
    report = call("ingest", items, 32, lambda batch: told.append(len(batch.items)))
    assert [item.status for item in report.items] == ["stored", "refused", "stored", "refused"]
    assert [item.filename for item in report.items] == ["1", "gone.jpg", "image", "a folder"]
    assert (report.items[1].image_id, sum(told)) == ("gone", 4)
    assert "No such file" in report.items[1].reason
    for attempt in (("add_images", [gone]), ("search", tmp_path / "gone.jpg", "visible")):
        with pytest.raises(UnreadableImage, match=r"gone\.jpg") as refused:
            call(*attempt)
        assert isinstance(refused.value, OSError)


def test_problems_carry_what_the_server_said(call: Callable[..., object]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        call("search", picture(0), "visible", camera_ids=["never-seen"])
    assert refused.value.status == 422
    assert refused.value.type == "urn:peca:problem:unknown-camera"
    assert refused.value.problem["title"] == refused.value.title
    assert "never-seen" in refused.value.detail
    assert refused.value.detail in str(refused.value)
    with pytest.raises(InvalidRequest) as refused:
        call("search", b"no image", "visible")
    assert refused.value.status == 415


@pytest.mark.parametrize("key", ["peca_wrong", None])
def test_a_wrong_or_missing_key(server: Server, key: str | None) -> None:
    with PecaClient(server.url, key) as client:
        assert client.health()
        assert client.ready().ready
        with pytest.raises(AuthenticationError) as refused:
            client.cameras()
    assert refused.value.status == 401


def test_version(call: Callable[..., object]) -> None:
    version = call("version")
    assert (version.encoder, version.gallery, version.provider) == ("grey-pixels-32x16", "embedded", "numpy")


def test_nobody_listens() -> None:
    with (
        PecaClient("http://127.0.0.1:9", "peca_x", retries=0) as client,
        pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"),
    ):
        client.cameras()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidArgument, match="expected the server's address"):
        PecaClient(url, "peca_x")


@pytest.mark.parametrize("key", ["", "schl\u00fcssel", "two\nlines"])
def test_what_is_no_key_is_not_shown(key: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        PecaClient("http://127.0.0.1:9", key)
    assert not key or key not in str(refused.value)


def test_arguments_are_checked_before_anything_is_sent() -> None:
    with PecaClient("http://127.0.0.1:9", "peca_x", retries=0) as client:
        for refused in (
            lambda: client.search(b"", "purple"),
            lambda: client.search(b"", "visible", gallery_modality="purple"),
            lambda: client.search(b"", "visible", camera_ids="gate"),
            lambda: client.search(b"", "visible", camera_ids=[]),
            lambda: client.search(b"", "visible", after=NIGHT.replace(tzinfo=None)),
            lambda: client.add_images([]),
            lambda: client.add_images([ImageUpload(b"", "c", "infrared", NIGHT.replace(tzinfo=None))]),
            lambda: client.ingest([upload(1, "c")], 0),
            lambda: client.image(""),
            lambda: client.thumbnail(".."),
        ):
            with pytest.raises(InvalidArgument):
                refused()


def test_an_image_id_cannot_leave_its_path(client: PecaClient) -> None:
    with pytest.raises(NotFound):
        client.image("../cameras")
    with pytest.raises(NotFound):
        client.image("a b?c#d%2F")


def test_the_readme_runs(
    fresh_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "clients/python/README.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 10
    monkeypatch.setenv("PECA_URL", fresh_server.url)
    monkeypatch.setenv("PECA_API_KEY", fresh_server.key)
    photos = tmp_path / "photos"
    photos.mkdir()
    monkeypatch.chdir(photos)
    Path("night.jpg").write_bytes(picture(1))
    Path("day.jpg").write_bytes(picture(1))
    for side, name in enumerate(("front.jpg", "back.jpg"), start=2):
        Path(name).write_bytes(picture(side))
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "1 0 0 0\n" in printed
    assert "404 urn:peca:problem:image-unknown" in printed
    assert "something else" not in printed
    assert Path("best.jpg").read_bytes().startswith(b"\xff\xd8")


def test_the_example_of_the_first_page_runs(
    fresh_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    address = "http://127.0.0.1:8000"
    assert address in example
    monkeypatch.chdir(tmp_path)
    Path("suspect.jpg").write_bytes(picture(1))
    with PecaClient(fresh_server.url, fresh_server.key) as client:
        client.add_images([upload(1, "gate-ir"), upload(2, "gate-ir")])
    code = example.replace(address, fresh_server.url)
    exec(compile(code, "README.md", "exec"), {"api_key": fresh_server.key})
    best, other = capsys.readouterr().out.splitlines()
    assert best == f"1 1.000 gate-ir {NIGHT}"
    assert other.startswith("2 ")


@pytest.mark.slow
def test_the_client_pulls_in_httpx_and_its_own_few(tmp_path: Path) -> None:
    """By the index of this machine, in an environment of its own."""
    # A copy, since pip builds in the folder that it is given.
    source = shutil.copytree(REPOSITORY / "clients/python", tmp_path / "source")
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, str(source)], capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("needs a package index with httpx and setuptools")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    names = {one["name"].lower().replace("_", "-") for one in json.loads(listed.stdout)}
    names -= {"pip", "setuptools", "wheel"}
    of_httpx = {"anyio", "certifi", "h11", "httpcore", "idna", "sniffio", "typing-extensions"}
    assert {"peca-client", "httpx"} <= names
    assert names - of_httpx == {"peca-client", "httpx"}
    ended = subprocess.run(
        [str(tmp_path / "bin" / "peca-client"), "status", "--url", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    assert "no answer from http://127.0.0.1:9" in ended.stderr


def test_every_public_name_is_exported() -> None:
    assert sorted(peca_client.__all__) == peca_client.__all__
    assert all(hasattr(peca_client, name) for name in peca_client.__all__)
