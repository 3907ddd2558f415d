"""What the application opens and closes, its settings and its probes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from server_site import Site, picture, served

from exporter.runtime import GreyPixelEncoder
from index.errors import EncoderMismatch, GalleryUnavailable, InvalidInput
from index.gallery import open_gallery
from index.space import EmbeddingSpec
from server.app import create_app, serve
from server.errors import EncoderBusy
from server.parts import opened
from server.settings import Settings, check_names


def test_creating_opens_nothing(tmp_path: Path) -> None:
    create_app(Settings(gallery=f"embedded:{tmp_path / 'data'}", encoder=tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_what_was_handed_in_stays_open_and_the_rest_is_closed(settings: Settings) -> None:
    encoder = GreyPixelEncoder()
    gallery = open_gallery("memory:", encoder.spec)
    with opened(settings, encoder, gallery):
        pass
    assert gallery.count() == 0
    with opened(settings, encoder) as parts:
        own = parts.catalogue
    with pytest.raises(GalleryUnavailable):
        own.check_readable()


def test_an_encoder_needs_no_more_than_to_encode(settings: Settings) -> None:
    class Bare:
        spec = GreyPixelEncoder().spec
        image_hw = GreyPixelEncoder().image_hw
        encode = GreyPixelEncoder().encode

    with opened(settings, Bare()) as parts:
        assert parts.encoder.provider == "not told"


def test_a_gallery_of_another_encoder_is_refused(settings: Settings) -> None:
    gallery = open_gallery("memory:", EmbeddingSpec(8, "another"))
    with pytest.raises(EncoderMismatch), opened(settings, GreyPixelEncoder(), gallery):
        pass


def test_probes_and_version(site: Site) -> None:
    assert httpx.get(f"{site.http.base_url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{site.http.base_url}/readyz").json() == {"status": "ok"}
    version = httpx.get(f"{site.http.base_url}/version").json()
    assert version["encoder"] == "grey-pixels-32x16"
    assert (version["provider"], version["gallery"]) == ("numpy", "memory")


def test_not_ready_without_its_gallery(settings: Settings) -> None:
    encoder = GreyPixelEncoder()
    gallery = open_gallery("memory:", encoder.spec)
    with served(create_app(settings, encoder=encoder, gallery=gallery)) as address:
        gallery.close()
        answer = httpx.get(f"{address}/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:gallery-unavailable")
        assert httpx.get(f"{address}/healthz").status_code == 200


def test_a_probe_does_not_count_the_gallery(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = GreyPixelEncoder()
    gallery = open_gallery("memory:", encoder.spec)
    with served(create_app(settings, encoder=encoder, gallery=gallery)) as address:
        # Of a million images that takes long, and anybody may ask again and again.
        monkeypatch.setattr(gallery, "count", lambda *_: pytest.fail("it was counted"))
        assert httpx.get(f"{address}/readyz").status_code == 200


def test_the_document_is_served(site: Site) -> None:
    assert site.http.get("/openapi.json").json() == site.app.openapi()


def test_settings_come_from_arguments_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PECA_GALLERY", "memory:")
    monkeypatch.setenv("PECA_PORT", "9000")
    assert Settings(port=1).port == 1
    assert (Settings().gallery, Settings().port) == ("memory:", 9000)


@pytest.mark.parametrize(
    ("said", "folder"),
    [
        ({"gallery": "embedded:some/where"}, "some/where"),
        ({"gallery": "memory:"}, "peca-data"),
        ({"gallery": "embedded:a", "data_dir": "b"}, "b"),
    ],
)
def test_the_data_folder(said: dict[str, str], folder: str) -> None:
    assert Settings(**said).data_folder == Path(folder)


def test_a_full_encoder_asks_to_come_again(start: Callable[..., Site]) -> None:
    site = start()

    def refuse(*_: object) -> None:
        raise EncoderBusy("40 images already wait")

    site.app.state.parts.encoding.encode = refuse
    answer = site.search(picture(0))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["type"] == "urn:peca:problem:encoder-busy"


def test_an_application_that_was_not_started_says_so(settings: Settings) -> None:
    async def ask(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings, encoder=GreyPixelEncoder()))
        async with httpx.AsyncClient(transport=transport, base_url="http://peca") as http:
            return await http.get(path)

    for path in ("/readyz", "/cameras"):
        answer = asyncio.run(ask(path))
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:server-stopping")


def test_a_variable_that_is_no_setting_ends_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_REQUIRE_CSAE", "true")
    with pytest.raises(InvalidInput, match=r"REQUIRE_CSAE is no setting.*mean PECA_REQUIRE_CASE"):
        serve(settings, encoder=GreyPixelEncoder())
    assert not settings.data_folder.exists()


def test_variables_of_clients_and_tests_are_no_errors() -> None:
    check_names(["PATH", "PECA_URL", "PECA_API_KEY", "PECA_MILVUS_TOKEN", "PECA_TEST_MILVUS", "peca_port"])


@pytest.mark.parametrize("said", ["*", "proxy.example", "10.0.0.0/99", "10.0.0.1;10.0.0.2"])
def test_proxies_are_named_by_address(said: str) -> None:
    with pytest.raises(ValueError, match="expected addresses or networks"):
        Settings(trusted_proxies=said)
    assert Settings(trusted_proxies=" 10.0.0.0/24, ::1 ").trusted_proxies == "10.0.0.0/24,::1"
