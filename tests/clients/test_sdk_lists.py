"""Searches in every form, lists, statistics and exports, through the SDK; by both clients."""

import asyncio
import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta

import pytest
from client_site import NIGHT, Server, picture

from peca_client import (
    AsyncPecaClient,
    ImageUpload,
    InvalidArgument,
    InvalidRequest,
    Modality,
    PecaClient,
    QueryLight,
    aeach,
    each,
)


def stored(call: Callable[..., object]) -> str:
    """A camera with a track of three images of each of persons 0 to 2, both lights of them labelled."""
    camera = f"lists-{call.name}"
    call(
        "add_images",
        [
            ImageUpload(
                picture(person, quality=95 - 10 * shot),
                camera,
                light,
                NIGHT + timedelta(minutes=3 * person + shot),
                f"{camera}-{light}-{person}-{shot}",
                person_id=f"{camera}-{person}",
                track_id=f"{light}-{person}",
            )
            for person in range(3)
            for shot in range(3)
            for light in ("infrared", "visible")
        ],
    )
    return camera


def test_searches_in_every_form(call: Callable[..., object]) -> None:
    camera = stored(call)
    both = call("search", [picture(0), picture(2)], "auto", camera_ids=[camera], limit=6)
    assert {hit.track_id for hit in both.items} == {"infrared-0", "infrared-2"}
    assert [light.modality for light in both.query_modalities] == [Modality.VISIBLE] * 2
    assert all(light.detected and light.confidence > 0.5 for light in both.query_modalities)
    each_its_own = call(
        "search", [picture(0), picture(2)], ["infrared", "auto"], gallery_modality="infrared", limit=1
    )
    assert [(light.modality, light.detected) for light in each_its_own.query_modalities] == [
        (Modality.INFRARED, False),
        (Modality.VISIBLE, True),
    ]
    options = {"camera_ids": [camera], "group_by": "track_id", "rerank": True, "exact": True}
    grouped = call("search", picture(1), "visible", **options)
    assert (grouped.items[0].track_id, grouped.items[0].group_size) == ("infrared-1", 3)
    assert (len(grouped.items), grouped.reranked, grouped.gallery_modality) == (3, True, Modality.INFRARED)
    own = f"{camera}-infrared-1-0"
    by_image = call("search_by_image", own, camera_ids=[camera], gallery_modality="infrared", limit=2)
    assert {hit.image_id for hit in by_image.items} == {f"{camera}-infrared-1-{shot}" for shot in (1, 2)}
    assert by_image.query_modalities == (QueryLight(Modality.INFRARED, False, None),)
    with pytest.raises(InvalidArgument, match="at least one image"):
        call("search", [], "visible")
    for lights in (["visible"] * 2, []):
        with pytest.raises(InvalidArgument, match="one for each: 3"):
            call("search", [picture(0)] * 3, lights)
    with pytest.raises(InvalidArgument, match="visible, infrared, auto"):
        call("search", picture(0), "purple")
    with pytest.raises(InvalidRequest):
        call("search", picture(0), "visible", group_by="person_id")


def test_lists_and_removals(call: Callable[..., object]) -> None:
    camera = stored(call)
    first = call("images", camera_ids=[camera], modality="infrared", limit=5)
    second = call("images", camera_ids=[camera], modality="infrared", limit=5, cursor=first.next_cursor)
    assert (len(first.items), len(second.items), second.next_cursor) == (5, 4, None)
    instants = [image.captured_at for image in (*first.items, *second.items)]
    assert instants == sorted(instants, reverse=True)
    narrow = {
        "camera_ids": [camera],
        "person_ids": [f"{camera}-1"],
        "track_ids": ["visible-1"],
        "after": NIGHT,
    }
    assert len(call("images", **narrow).items) == 3
    tried = call("delete_images", **narrow)
    assert (tried.count, tried.dry_run, tried.cameras[0].modality) == (3, True, Modality.VISIBLE)
    assert call("delete_images", dry_run=False, **narrow).count == 3
    assert call("images", **narrow).items == ()
    with pytest.raises(InvalidRequest, match="needs a filter"):
        call("delete_images")


def test_each_goes_through_all_pages(server: Server, client: PecaClient) -> None:
    camera = "each"
    uploads = [ImageUpload(picture(n), camera, "infrared", NIGHT, f"each-{n}") for n in range(5)]
    client.add_images(uploads)
    client.search(picture(0), "visible", camera_ids=[camera], case="each")
    found = [image.image_id for image in each(client.images, camera_ids=[camera], limit=2)]
    assert sorted(found) == [f"each-{n}" for n in range(5)]
    assert [one.case for one in each(client.searches, case="each", limit=1)] == ["each"]

    async def read() -> list[str]:
        async with AsyncPecaClient(server.url, server.key) as opened:
            return [one.image_id async for one in aeach(opened.images, camera_ids=[camera], limit=2)]

    assert asyncio.run(read()) == found


def test_statistics_and_quality(call: Callable[..., object]) -> None:
    camera = stored(call)
    stats = call("stats")
    assert stats.images == sum(one.count for one in stats.cameras)
    assert camera in {one.camera_id for one in stats.cameras}
    assert (len(stats.hours), stats.gallery, stats.provider) == (24, "embedded", "numpy")
    assert stats.disk_free_bytes <= stats.disk_total_bytes
    quality = call("quality")
    assert [one.query_modality for one in quality.directions] == list(Modality)
    assert quality.directions[0].cmc[0] > quality.directions[0].chance_rank1
    assert quality.people >= 3
    assert sum(quality.cosines["across"]["same"]["histogram"]) == quality.cosines["across"]["same"]["pairs"]


def test_searches_are_listed_and_exported(call: Callable[..., object]) -> None:
    camera = stored(call)
    made = [
        call("search", picture(0), "visible", camera_ids=[camera], limit=2, case=camera) for _ in range(3)
    ]
    page = call("searches", case=camera, limit=2)
    rest = call("searches", case=camera, limit=2, cursor=page.next_cursor)
    listed = [one.search_id for one in (*page.items, *rest.items)]
    assert listed == [one.search_id for one in made][::-1]
    assert (page.items[0].query_images, page.items[0].results, page.items[0].key) == (1, 2, "admin")
    record = call("search_record", listed[0])
    assert record.query_sha256[0] is not None
    shown = [(one.camera_id, one.captured_at) for one in made[-1].items]
    assert [(one.camera_id, one.captured_at) for one in record.results] == shown
    both = io.BytesIO(call("export_search", listed[0], also=listed[1:2]))
    with zipfile.ZipFile(both) as folder:
        told = json.loads(folder.read("record.json"))["searches"]
        assert [one["search_id"] for one in told] == listed[:2]
    with zipfile.ZipFile(io.BytesIO(call("export_search", listed[0]))) as folder:
        assert {"report.html", "record.json", "images/001.jpg", "images/002.jpg"} <= set(folder.namelist())


def test_another_encoder_is_not_taken(call: Callable[..., object]) -> None:
    with pytest.raises(InvalidRequest, match="encoder"):
        call("reload_encoder")
