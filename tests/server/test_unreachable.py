"""A gallery whose server is away: the client is told when to ask again."""

import httpx
from server_site import served

from exporter.runtime import GreyPixelEncoder
from index.errors import GalleryUnreachable
from index.memory import MemoryGallery
from index.records import ImageRecord
from server.app import create_app
from server.settings import Settings


class AwayGallery(MemoryGallery):
    """Its server does not answer while ``away``."""

    away = False

    def get(self, image_id: str) -> ImageRecord | None:
        if self.away:
            raise GalleryUnreachable("Milvus does not answer")
        return super().get(image_id)


def test_an_unreachable_gallery_is_a_503_that_says_when_to_ask_again(settings: Settings) -> None:
    encoder = GreyPixelEncoder()
    gallery = AwayGallery(encoder.spec)
    with served(create_app(settings, encoder=encoder, gallery=gallery)) as address:
        gallery.away = True
        answer = httpx.get(f"{address}/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:gallery-unreachable")
        assert answer.headers["Retry-After"] == str(GalleryUnreachable.retry_after_s)
        gallery.away = False
        assert httpx.get(f"{address}/readyz").status_code == 200
