"""Watchlists, hits and keys by the SDK, blocking and asynchronous, against a real server process."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
from client_site import NIGHT, Server, picture

from peca_client import (
    AsyncPecaClient,
    AuthenticationError,
    ImageUpload,
    InvalidArgument,
    NotFound,
    PecaClient,
    WatchHit,
)


def blocking(server: Server, key: str, camera: str) -> list[WatchHit]:
    with PecaClient(server.url, key) as client:
        made = client.watch([picture(1)], "visible", "coat", 0.999)
        client.add_images([ImageUpload(picture(1), camera, "infrared", NIGHT, image_id=camera)])
        assert client.watchlist(made.watchlist_id).hits == 1
        assert [one.watchlist_id for one in client.watchlists()][:1] == [made.watchlist_id]
        page = client.watchlist_hits(made.watchlist_id)
        for hit in client.events(after=page.items[0].event_id - 1):
            heard = hit
            break
        assert page.items[0] in client.hits().items
        given = client.judge_hit(made.watchlist_id, heard.event_id, "confirmed", "the coat")
        assert client.watchlist_hits(made.watchlist_id).items[0].verdicts == (given,)
        assert (given.image_id, given.note, given.superseded) == (camera, "the coat", False)
        assert client.hits(webhook="dead").items == ()
        assert client.resend_hits(made.watchlist_id, [heard.event_id]) == 0
        with pytest.raises(InvalidArgument):
            client.judge_hit(made.watchlist_id, heard.event_id, "perhaps")
        client.remove_watchlist(made.watchlist_id)
        with pytest.raises(NotFound):
            client.watchlist(made.watchlist_id)
        return [*page.items, heard]


def asynchronous(server: Server, key: str, camera: str) -> list[WatchHit]:
    async def call() -> list[WatchHit]:
        async with AsyncPecaClient(server.url, key) as client:
            made = await client.watch(picture(1), "visible", "coat", 0.999)
            await client.add_images([ImageUpload(picture(1), camera, "infrared", NIGHT, image_id=camera)])
            page = await client.watchlist_hits(made.watchlist_id)
            stream = client.events(after=page.items[0].event_id - 1)
            heard = await anext(stream)
            await stream.aclose()
            assert page.items[0] in (await client.hits()).items
            given = await client.judge_hit(made.watchlist_id, heard.event_id, "unsure")
            assert (await client.watchlist_hits(made.watchlist_id)).items[0].verdicts == (given,)
            assert await client.resend_hits(made.watchlist_id) == 0
            await client.remove_watchlist(made.watchlist_id)
            return [*page.items, heard]

    return asyncio.run(call())


@pytest.mark.parametrize("run", [blocking, asynchronous])
def test_a_hit_is_listed_and_heard(
    server: Server, run: Callable[[Server, str, str], list[WatchHit] | Awaitable[list[WatchHit]]]
) -> None:
    camera = f"watch-{run.__name__}"
    listed, heard = run(server, server.key, camera)
    assert listed == heard
    assert (heard.image_id, heard.camera_id, heard.captured_at, heard.name) == (camera, camera, NIGHT, "coat")


def test_keys(client: PecaClient, server: Server) -> None:
    made = client.create_key("Ada of the SDK", "operator", requests_per_minute=50)
    assert made.key is not None
    assert made.key_id in [one.key_id for one in client.list_keys()]
    new = client.rotate_key(made.key_id)
    assert (new.name, new.role) == ("Ada of the SDK", "operator")
    with PecaClient(server.url, new.key) as ada:
        assert ada.watchlists() == ()
        with pytest.raises(AuthenticationError):
            ada.list_keys()
        client.revoke_key(new.key_id)
        with pytest.raises(AuthenticationError):
            next(ada.events())
    elsewhere = client.create_key("Ada of another gallery", "operator", galleries=["north"])
    assert elsewhere.galleries == ("north",)
    with PecaClient(server.url, elsewhere.key) as ada, pytest.raises(AuthenticationError):
        ada.cameras()
    with pytest.raises(InvalidArgument):
        client.create_key("Eve", "admin", expires_at=datetime(2999, 1, 1))
    with pytest.raises(InvalidArgument):
        client.watchlist("..")
