"""Lists that seldom have more than one page: cameras, keys and watchlists."""

import asyncio
import zlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from server_site import Site, about, picture

from peca_client import AsyncPecaClient, PecaClient
from server.access import Role

AsHolder = Callable[..., Site]


def pages(site: Site, path: str, limit: int) -> Iterator[list[dict[str, object]]]:
    """The items of each page."""
    cursor: dict[str, str] = {}
    while True:
        answer = site.http.get(path, params={"limit": limit, **cursor})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        yield told["items"]
        if told["next_cursor"] is None:
            return
        cursor = {"cursor": told["next_cursor"]}


def camera(site: Site, camera_id: str, modality: str) -> None:
    image_id = f"i-{zlib.crc32(camera_id.encode())}-{modality}"
    said = about("x", image_id=image_id, camera_id=camera_id, modality=modality)
    assert site.ingest({"x": picture(1)}, [said]).status_code == 201


def watch(site: Site, name: str) -> None:
    form = {"name": name, "threshold": 0.9, "query_modality": "visible"}
    assert site.http.post("/watchlists", files={"image": ("q", picture(1))}, data=form).status_code == 201


@pytest.fixture
def full(site: Site) -> Site:
    for camera_id in ("hall", "gate 2", "gate", "Äther", 200 * "\N{VIDEO CAMERA}"):
        for modality in ("visible", "infrared"):
            camera(site, camera_id, modality)
    for name in "abcd":
        site.http.post("/keys", json={"name": name, "role": "operator"})
        watch(site, name)
    return site


@pytest.mark.parametrize("path", ["/cameras", "/keys", "/watchlists"])
def test_pages_are_the_list(full: Site, path: str) -> None:
    whole = full.http.get(path).json()
    assert whole["next_cursor"] is None
    assert len(whole["items"]) >= 4
    for limit in (1, 3, len(whole["items"])):
        parts = list(pages(full, path, limit))
        assert all(len(part) == limit for part in parts[:-1])
        assert [item for part in parts for item in part] == whole["items"]


@pytest.mark.parametrize("path", ["/cameras", "/keys", "/watchlists"])
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "cursor=%20", "cursor=zzz", "of=me", "limit=1&limit=2"]
)
def test_what_would_be_passed_over_is_refused(site: Site, path: str, query: str) -> None:
    answer = site.http.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:invalid-request")


def test_what_comes_between_two_pages_repeats_and_skips_nothing(full: Site) -> None:
    walks = {path: pages(full, path, 2) for path in ("/cameras", "/keys", "/watchlists")}
    seen = {path: next(walk) for path, walk in walks.items()}
    camera(full, "gate 1", "visible")
    camera(full, "zone", "visible")
    full.http.post("/keys", json={"name": "e", "role": "operator"})
    watch(full, "e")
    for path, walk in walks.items():
        seen[path] += [item for page in walk for item in page]
    cameras = [(one["camera_id"], one["modality"]) for one in seen["/cameras"]]
    assert sorted(set(cameras)) == cameras
    assert len(cameras) >= 9
    assert [one["name"] for one in seen["/keys"]] == ["admin", "a", "b", "c", "d", "e"]
    assert [one["name"] for one in seen["/watchlists"]] == ["d", "c", "b", "a"], "the new one is before"


def test_an_operator_has_pages_of_own_watchlists(full: Site, as_holder: AsHolder) -> None:
    ada = as_holder(full, "Ada", Role.OPERATOR)
    watch(ada, "x")
    watch(full, "between")
    watch(ada, "y")
    assert [[one["name"] for one in page] for page in pages(ada, "/watchlists", 1)] == [["y"], ["x"]]


class SmallPages(httpx.HTTPTransport):
    """Asks for two items where the client asks for as many as there are."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_merge_params({"limit": "2"})
        return super().handle_request(request)


class AsyncSmallPages(httpx.AsyncHTTPTransport):
    """The same for the asynchronous client."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_merge_params({"limit": "2"})
        return await super().handle_async_request(request)


def test_the_sdk_gives_whole_lists(full: Site) -> None:
    address, key = str(full.http.base_url), full.http.headers["X-API-Key"]

    async def ask() -> tuple[object, ...]:
        async with AsyncPecaClient(address, key, transport=AsyncSmallPages()) as client:
            return await client.cameras(), await client.list_keys(), await client.watchlists()

    with PecaClient(address, key, transport=SmallPages()) as client:
        lists = client.cameras(), client.list_keys(), client.watchlists()
    assert asyncio.run(ask()) == lists
    assert [len(one) for one in lists] == [10, 5, 4]
    assert [one.name for one in lists[2]] == list("dcba")
