"""What is tried again, how long is waited, and what an answer of something else than PECA becomes."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from client_site import NIGHT

from peca_client import (
    AsyncPecaClient,
    ConnectionFailed,
    ImageUpload,
    InvalidRequest,
    PecaClient,
    PecaClientError,
    RateLimited,
    ServerError,
    UnexpectedAnswer,
)
from peca_client.retry import RetryPolicy

URL = "http://peca.test/prefix"
CAMERAS = httpx.Response(200, json={"items": []})


class Script:
    """Answers with one step after the other, the last for ever; notes requests and waits."""

    def __init__(self, *steps: httpx.Response | type[httpx.TransportError]) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, headers=step.headers, content=step.content)
        raise step("scripted", request=request)


def blocking(script: Script, retries: int, method: str, *args: object) -> object:
    with PecaClient(URL, "peca_x", retries=retries, transport=httpx.MockTransport(script)) as client:
        return getattr(client, method)(*args)


def asynchronous(script: Script, retries: int, method: str, *args: object) -> object:
    async def call() -> object:
        transport = httpx.MockTransport(script)
        async with AsyncPecaClient(URL, "peca_x", retries=retries, transport=transport) as client:
            return await getattr(client, method)(*args)

    return asyncio.run(call())


@pytest.fixture(params=[blocking, asynchronous])
def play(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Makes one call against a script, with a clock that does not wait."""

    def run(script: Script, method: str = "cameras", *args: object, retries: int = 3) -> object:
        real_sleep = asyncio.sleep

        async def sleep(seconds: float) -> None:
            script.waits.append(seconds)
            await real_sleep(0)

        monkeypatch.setattr(time, "sleep", script.waits.append)
        monkeypatch.setattr("peca_client.aclient.asyncio.sleep", sleep)
        return request.param(script, retries, method, *args)

    return run


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError, httpx.ReadError, httpx.ReadTimeout, httpx.Response(503), httpx.Response(429)],
)
def test_a_failure_that_may_pass_is_tried_again(play: Callable[..., object], failure: object) -> None:
    script = Script(failure, failure, CAMERAS)
    assert play(script) == ()
    assert len(script.requests) == 3
    assert 0.25 <= script.waits[0] <= 0.5 <= script.waits[1] <= 1.0


def test_the_whole_body_is_sent_again(play: Callable[..., object]) -> None:
    report = {"items": [{"filename": "0", "status": "stored", "image_id": "a"}]}
    script = Script(httpx.ReadError, httpx.Response(201, json=report))
    uploads = [ImageUpload(b"the image", "cam1", "infrared", NIGHT)]
    assert play(script, "add_images", uploads).stored == 1
    bodies = [request.content for request in script.requests]
    assert all(b"the image" in body and b'"camera_id": "cam1"' in body for body in bodies)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500, 502])
def test_a_failure_that_will_not_pass_is_not(play: Callable[..., object], status: int) -> None:
    script = Script(httpx.Response(status))
    with pytest.raises(PecaClientError):
        play(script)
    assert len(script.requests) == 1


def test_retries_end(play: Callable[..., object]) -> None:
    for failure, expected in (
        (httpx.ConnectError, ConnectionFailed),
        (httpx.Response(503), ServerError),
        (httpx.Response(429), RateLimited),
    ):
        script = Script(failure)
        with pytest.raises(expected):
            play(script, retries=2)
        assert len(script.requests) == 3
        script = Script(failure)
        with pytest.raises(expected):
            play(script, retries=0)
        assert script.waits == []


def test_retry_after_is_honoured(play: Callable[..., object]) -> None:
    script = Script(httpx.Response(429, headers={"Retry-After": "7"}), CAMERAS)
    assert play(script) == ()
    assert script.waits == [7.0]


def test_a_retry_after_beyond_patience_ends_at_once(play: Callable[..., object]) -> None:
    script = Script(httpx.Response(429, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as refused:
        play(script)
    assert refused.value.retry_after_s == 3600
    assert script.waits == []


def test_retry_after_as_a_date_and_as_nonsense() -> None:
    policy = RetryPolicy()
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert policy.wait_s(0, httpx.Response(503, headers={"Retry-After": later})) == pytest.approx(20, abs=2)
    earlier = format_datetime(datetime.now(UTC) - timedelta(seconds=20), usegmt=True)
    assert policy.wait_s(0, httpx.Response(503, headers={"Retry-After": earlier})) == 0
    nonsense = policy.wait_s(0, httpx.Response(503, headers={"Retry-After": "soon"}))
    assert nonsense is not None
    assert 0.25 <= nonsense <= 0.5


def test_health_and_ready_are_asked_once(play: Callable[..., object]) -> None:
    script = Script(httpx.Response(503, json={"detail": "the gallery cannot be read"}))
    readiness = play(script, "ready")
    assert (readiness.ready, readiness.detail) == (False, "the gallery cannot be read")
    assert len(script.requests) == 1
    script = Script(httpx.ConnectError)
    with pytest.raises(ConnectionFailed):
        play(script, "health")
    assert len(script.requests) == 1


def test_the_address_may_have_a_path_and_the_key_is_sent(play: Callable[..., object]) -> None:
    script = Script(CAMERAS)
    play(script)
    assert str(script.requests[0].url) == f"{URL}/cameras"
    assert script.requests[0].headers["Authorization"] == "Bearer peca_x"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"items": [{}]}),
        httpx.Response(200, json={"items": None}),
        httpx.Response(302, headers={"Location": "/login"}),
    ],
)
def test_the_answer_of_another_service(play: Callable[..., object], answer: httpx.Response) -> None:
    with pytest.raises(UnexpectedAnswer, match=r"peca\.test"):
        play(Script(answer))


def test_a_report_of_other_length_is_no_answer(play: Callable[..., object]) -> None:
    with pytest.raises(UnexpectedAnswer):
        play(
            Script(httpx.Response(201, json={"items": []})),
            "add_images",
            [ImageUpload(b"x", "c", "infrared", NIGHT)],
        )


def test_an_error_without_problem_json_is_told_by_its_status(play: Callable[..., object]) -> None:
    with pytest.raises(ServerError, match="502 Bad Gateway") as failed:
        play(Script(httpx.Response(502, text="<html>")))
    assert failed.value.type == "about:blank"


def test_one_image_that_is_too_large_to_send_is_refused_alone(play: Callable[..., object]) -> None:
    too_large = httpx.Response(
        413, json={"title": "The request body is too large", "detail": "at most 9 bytes"}
    )
    stored = httpx.Response(201, json={"items": [{"filename": "0", "status": "stored", "image_id": "a"}]})
    script = Script(too_large, too_large, stored)
    uploads = [ImageUpload(b"x", "c", "infrared", NIGHT, filename=name) for name in ("first", "second")]
    report = play(script, "ingest", uploads)
    assert [(item.filename, item.status) for item in report.items] == [
        ("first", "refused"),
        ("second", "stored"),
    ]
    assert report.items[0].reason == "at most 9 bytes"


def test_add_images_lets_a_body_that_is_too_large_through(play: Callable[..., object]) -> None:
    with pytest.raises(InvalidRequest):
        play(Script(httpx.Response(413)), "add_images", [ImageUpload(b"x", "c", "infrared", NIGHT)])


def watchlist_made() -> httpx.Response:
    made = {"watchlist_id": "w", "name": "coat", "made_by": "Ada", "expires_at": "2026-06-01T00:00:00Z"}
    made |= {"live": True, "gallery_modality": "infrared", "camera_ids": None, "threshold": 0.6, "case": None}
    return httpx.Response(201, json={**made, "hits": 0, "webhook_url": None})


def key_made() -> httpx.Response:
    made = {"key_id": "k", "name": "Ada", "role": "camera", "camera_ids": None, "key": "peca_new"}
    return httpx.Response(
        201, json={**made, "created_at": "2026-05-01T00:00:00Z", "expires_at": None, "revoked_at": None}
    )


ONCE = [
    ("watch", (b"x", "visible", "coat", 0.6), watchlist_made),
    ("create_key", ("Ada", "camera"), key_made),
    ("rotate_key", ("k",), key_made),
]


@pytest.mark.parametrize(("method", "arguments", "made"), ONCE, ids=[method for method, *_ in ONCE])
@pytest.mark.parametrize(
    "failure", [httpx.Response(429), httpx.Response(503), httpx.ConnectError, httpx.ConnectTimeout]
)
def test_what_is_done_once_is_tried_again_where_nothing_was_done(
    play: Callable[..., object],
    failure: object,
    method: str,
    arguments: tuple[object, ...],
    made: Callable[[], httpx.Response],
) -> None:
    script = Script(failure, failure, made())
    play(script, method, *arguments)
    assert len(script.requests) == 3


@pytest.mark.parametrize(("method", "arguments", "made"), ONCE, ids=[method for method, *_ in ONCE])
@pytest.mark.parametrize("lost", [httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_what_is_done_once_is_not_sent_again_where_its_answer_was_lost(
    play: Callable[..., object],
    lost: type[httpx.TransportError],
    method: str,
    arguments: tuple[object, ...],
    made: Callable[[], httpx.Response],
) -> None:
    script = Script(lost, made())
    with pytest.raises(ConnectionFailed):
        play(script, method, *arguments)
    assert len(script.requests) == 1


HIT = (
    b'id: 7\nevent: hit\ndata: {"event_id":7,"watchlist_id":"w","name":"coat","image_id":"i","camera_id":"c",'
    b'"captured_at":"2026-05-01T00:00:00Z","modality":"infrared","score":0.7}\n\n'
)


STREAM = {"content-type": "text/event-stream"}


def heard_blocking(script: Script) -> tuple[list[int], Exception]:
    hits: list[int] = []
    with PecaClient(URL, "peca_x", transport=httpx.MockTransport(script)) as client:
        try:
            for hit in client.events():
                hits.append(hit.event_id)
        except PecaClientError as error:
            return hits, error
    raise AssertionError("the stream ended in silence")


def heard_asynchronously(script: Script) -> tuple[list[int], Exception]:
    async def listen() -> tuple[list[int], Exception]:
        hits: list[int] = []
        async with AsyncPecaClient(URL, "peca_x", transport=httpx.MockTransport(script)) as client:
            try:
                async for hit in client.events():
                    hits.append(hit.event_id)
            except PecaClientError as error:
                return hits, error
        raise AssertionError("the stream ended in silence")

    return asyncio.run(listen())


@pytest.mark.parametrize("listen", [heard_blocking, heard_asynchronously])
@pytest.mark.parametrize(
    ("answer", "heard", "error"),
    [
        (httpx.Response(200, headers=STREAM, content=HIT), [7], ConnectionFailed),
        (httpx.Response(200, headers=STREAM, content=HIT + b"data: {}\n\n"), [7], UnexpectedAnswer),
        (httpx.Response(200, text="<html>"), [], UnexpectedAnswer),
        (httpx.Response(302, headers={"Location": "/login"}), [], UnexpectedAnswer),
        (httpx.Response(503), [], ServerError),
    ],
    ids=["ended", "nonsense", "another service", "moved", "stopping"],
)
def test_a_stream_of_hits_never_ends_in_silence(
    listen: Callable[[Script], tuple[list[int], Exception]],
    answer: httpx.Response,
    heard: list[int],
    error: type[PecaClientError],
) -> None:
    hits, raised = listen(Script(answer))
    assert hits == heard
    assert type(raised) is error
