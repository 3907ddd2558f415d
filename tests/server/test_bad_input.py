"""Bad input: each kind has its own problem, and the server goes on."""

import asyncio
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from server_site import Process, Site, about, picture

from exporter.runtime import GreyPixelEncoder


def huge_png() -> bytes:
    """60,000 x 60,000 pixels in its header, and next to no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animated_gif_like() -> bytes:
    frames = [Image.new("RGB", (8, 16), shade) for shade in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


BAD_IMAGES = {
    "not an image": (b"GIF89a or nothing of the kind", 415, "not-an-image"),
    "truncated": (picture(1)[:400], 422, "image-truncated"),
    "60,000 x 60,000": (huge_png(), 413, "image-too-many-pixels"),
    "empty": (b"", 422, "image-empty"),
    "too many bytes": (picture(1) + bytes(20 * 1024 * 1024), 413, "image-too-many-bytes"),
    "animated": (animated_gif_like(), 422, "image-animated"),
}


def assert_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:peca:problem:{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused_by_its_reason(site: Site, name: str) -> None:
    image, status, slug = BAD_IMAGES[name]
    assert_problem(site.search(image), status, slug)
    assert_problem(site.ingest({"bad": image}), status, slug)
    assert site.people(1).status_code == 201


def test_a_wrong_modality_is_named(site: Site) -> None:
    answer = site.search(picture(0), query_modality="thermal")
    assert_problem(answer, 422, "unknown-modality")
    assert "'visible', 'infrared' or 'auto'" in answer.json()["detail"]
    assert_problem(site.search(picture(0), gallery_modality="uv"), 422, "unknown-modality")
    assert_problem(site.ingest({"a": picture(0)}, [about("a", modality="ir")]), 422, "unknown-modality")


@pytest.mark.parametrize("field", ["camera_ids", "exclude_camera_ids"])
def test_an_unknown_camera_filter_lists_the_known(site: Site, field: str) -> None:
    site.people(1)
    answer = site.search(picture(0), **{field: "cam3,cam99"})
    assert_problem(answer, 422, "unknown-camera")
    assert "never seen cam99" in answer.json()["detail"]
    assert "its cameras are: cam3" in answer.json()["detail"]


def test_missing_fields_and_strange_bodies(site: Site) -> None:
    assert_problem(site.http.post("/search", data={"query_modality": "visible"}), 422, "invalid-request")
    assert_problem(site.http.post("/search", json={"image": "?"}), 422, "invalid-request")
    broken = {"content-type": "multipart/form-data"}
    assert_problem(site.http.post("/search", content=b"--x", headers=broken), 400, "malformed-body")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", None])
def test_a_body_that_is_no_form_is_not_passed_over(site: Site, kind: str | None) -> None:
    site.people(2)
    headers = {} if kind is None else {"content-type": kind}
    search = "/images/p0/search"
    answer = site.http.post(search, content=b'{"camera_ids": ["cam9"]}', headers=headers)
    assert_problem(answer, 422, "invalid-request")
    assert "expected a form" in answer.json()["detail"]
    assert site.http.post(search, headers=headers).status_code == 200
    assert site.http.post(search, content=iter([b""]), headers=headers).status_code == 200
    assert len(site.http.get("/audit", params={"action": "search"}).json()["items"]) == 2


@pytest.mark.parametrize(
    ("path", "parts", "told"),
    [
        ("/search", {"image": (None, "x")}, "image: a file is expected, got text"),
        ("/watchlists", {"image": (None, "x")}, "image: a file is expected, got text"),
        ("/images", {"images": (None, "x")}, "images: a file is expected, got text"),
        ("/images", {"images": b"x", "metadata": b"[]"}, "metadata: text is expected, got a file"),
        ("/search", {"image": b"x", "camera_ids": b"x"}, "camera_ids: text is expected, got a file"),
    ],
)
def test_text_for_a_file_and_a_file_for_text(
    site: Site, path: str, parts: dict[str, object], told: str
) -> None:
    answer = site.http.post(path, files=parts)
    assert_problem(answer, 422, "invalid-request")
    assert told in answer.json()["detail"]


def test_the_words_of_a_refusal_are_plain(site: Site) -> None:
    wanted = {"role": "boss", "camera_ids": [], "requests_per_minute": 0, "x": 1}
    errors = site.http.post("/keys", json=wanted).json()["errors"]
    assert {error["at"].removeprefix("body."): error["message"] for error in errors} == {
        "name": "is needed",
        "role": "expected 'camera', 'operator', 'auditor' or 'admin'",
        "camera_ids": "expected at least 1, got 0",
        "requests_per_minute": "expected 1 or more",
        "x": "is not known here; leave it out",
    }
    told = site.search(picture(0), after="yesterday").json()["detail"]
    assert told.startswith("body.after: expected an instant in ISO 8601"), told


def test_unknown_routes_and_methods(site: Site) -> None:
    assert_problem(site.http.get("/nowhere"), 404, "route-unknown")
    assert_problem(site.http.get("/images/"), 404, "route-unknown")
    answer = site.http.get("/search")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    assert_problem(site.http.get("/images/%00%ff"), 404, "image-unknown")


class FailingEncoder(GreyPixelEncoder):
    """Fails as no one foresaw."""

    def encode(self, images: np.ndarray, modality: object) -> np.ndarray:
        raise RuntimeError("a secret of this machine")


def test_a_failure_tells_nothing_of_the_inside(start: Callable[..., Site]) -> None:
    site = start(FailingEncoder())
    answer = site.search(picture(0))
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    assert_problem(site.people(1), 500, "internal-error")
    ready = site.http.get("/readyz")
    assert_problem(ready, 503, "encoder-fails")
    assert "secret" not in ready.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_before_its_end(start: Callable[..., Site], chunked: bool) -> None:
    site = start(max_request_bytes=100_000)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(2000):
            sent += 1
            yield bytes(100_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    if not chunked:
        headers["content-length"] = str(2**31)
    answer = site.http.post("/search", content=endless(), headers=headers)
    assert_problem(answer, 413, "body-too-large")
    assert answer.headers["connection"] == "close"
    assert sent < 1000
    assert site.http.get("/healthz").status_code == 200


def test_a_body_at_the_limit_is_taken(start: Callable[..., Site]) -> None:
    site = start(max_request_bytes=100_000)
    assert site.search(picture(0)).status_code == 200


def test_a_huge_image_takes_no_memory(launch: Callable[[], Process]) -> None:
    process = launch()
    assert process.key is not None
    site = process.site(process.key)
    assert site.people(1).status_code == 201
    before = process.peak_bytes()
    for _ in range(3):
        assert_problem(site.search(huge_png()), 413, "image-too-many-pixels")
    assert process.peak_bytes() - before < 50 * 1024 * 1024
    assert len(site.search(picture(0)).json()["items"]) == 1


def test_a_client_that_sends_all_before_it_listens_learns_that_its_body_is_too_large(
    start: Callable[..., Site],
) -> None:
    # asyncio's client drops an answer that comes with a reset, as one to an unread body does.
    async def send(site: Site) -> httpx.Response:
        async with httpx.AsyncClient(base_url=site.http.base_url, headers=site.http.headers) as http:
            return await http.post("/images", files={"images": ("a.jpg", bytes(150_000))})

    site = start(max_request_bytes=100_000)
    for _ in range(5):
        assert_problem(asyncio.run(send(site)), 413, "body-too-large")


def test_a_field_that_would_be_ignored_is_refused(site: Site) -> None:
    files = {"image": ("a.jpg", picture(1))}
    answer = site.http.post("/search", files=files, data={"query_modality": "visible", "camera_id": "cam1"})
    assert_problem(answer, 422, "invalid-request")
    assert "got also 'camera_id'" in answer.json()["detail"]
    twice = {"query_modality": "visible", "limit": ["2", "3"]}
    answer = site.http.post("/search", files=files, data=twice)
    assert_problem(answer, 422, "invalid-request")
    assert "one value each of limit" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/search", "/images", "/watchlists", "/images/p0/search", "/keys"])
@pytest.mark.parametrize(
    "charset", ["unicode_escape", "punycode", "utf-16", "latin-1", "utf-8; charset=idna"]
)
def test_text_that_is_not_in_utf_8_is_refused_unread(site: Site, path: str, charset: str) -> None:
    # The parser of forms decodes by any codec of Python's: some make half a surrogate, some take minutes.
    form = (
        b'--x\r\nContent-Disposition: form-data; name="\\ud800"\r\n\r\n' + b"a" * 100_000 + b"\r\n--x--\r\n"
    )
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = site.http.post(path, content=form, headers=headers)
    assert_problem(answer, 400, "malformed-body")
    assert answer.json()["detail"].startswith("expected text in UTF-8, got ")
    headers = {"content-type": "multipart/form-data; boundary=x; charset=UTF-8"}
    assert_problem(site.http.post("/search", content=form, headers=headers), 422, "invalid-request")


def test_names_of_fields_are_told_in_few_plain_characters(site: Site) -> None:
    answer = site.http.post("/search", data={f"{n:02}\x1b[2J{'x' * 100}": "1" for n in range(25)})
    assert_problem(answer, 422, "invalid-request")
    told = answer.json()["detail"].partition("; got also ")[2]
    assert told.startswith(f"'00\\x1b[2J{'x' * 34}...', '01")
    assert told.endswith("...' and 15 more")
    assert len(told) < 700


def test_text_is_read_up_to_a_megabyte(site: Site) -> None:
    wide = b"[" + b"[]," * 400_000 + b"0]"
    headers = {"content-type": "application/json"}
    for path in ("/keys", "/searches/x/verdicts"):
        assert_problem(site.http.post(path, content=wide, headers=headers), 413, "body-too-large")
    assert_problem(site.http.post("/images/p0/search", data={"case": "x" * 1_100_000}), 413, "body-too-large")


def test_a_full_folder_for_temporary_files_is_not_the_clients_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    large = picture(1, "BMP", (700, 700))
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.tempdir", str(tmp_path / "none"))
        for answer in (site.search(large), site.ingest({"n": large})):
            assert (answer.status_code, answer.json()["type"]) == (
                503,
                "urn:peca:problem:storage-unavailable",
            )
            assert answer.headers["retry-after"].isdigit()
            assert str(tmp_path) not in answer.text
    assert site.ingest({"n": large}).status_code == 201
