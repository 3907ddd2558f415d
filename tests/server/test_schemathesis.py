"""The API against its own description: schemathesis makes requests, all its checks look at the answers."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from server_site import Site, served

from exporter.runtime import GreyPixelEncoder
from index.gallery import open_gallery
from server.app import create_app
from server.keys import open_keys
from server.settings import Settings

# The stream has no end to wait for; test_events looks at it.
ENDLESS = "/events"
# What is valid by the description and refused all the same, since no schema can say it.
BEYOND_A_SCHEMA = {
    "POST /search": "what an image file is, and which cameras the gallery has seen",
    "POST /images/{image_id}/search": "which cameras the gallery has seen",
    "POST /images": "what an image file is, and that the metadata name the files",
    "GET /images": "what a cursor is, and which cameras the gallery has seen",
    "GET /cameras": "what a cursor is",
    "DELETE /images": "that one filter is needed, whichever",
    "POST /keys": "that the end of a key is yet to come, and which roles are limited to cameras",
    "POST /watchlists": "what an image file is, and that its end is yet to come",
}
REFUSALS = ["413", "415", "422"]
ACCEPTED = ["2xx", "401", "403", "404", "409"]
OPERATIONS = [
    {
        "include-name": name,
        "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, *REFUSALS]}},
    }
    for name in BEYOND_A_SCHEMA
]
document = create_app(Settings(gallery="memory:")).openapi()


def described(*, coverage: bool) -> schemathesis.BaseSchema:
    """The description; ``coverage`` adds the cases that schemathesis derives from each bound and type."""
    # Its own limit of 10 s would fail a sound answer on a busy machine; the server's is 30 s.
    told = {
        "operations": OPERATIONS,
        "phases": {"coverage": {"enabled": coverage}},
        "request-timeout": 60,
    }
    config = schemathesis.Config.from_dict(told)
    return schemathesis.openapi.from_dict(document, config=config).exclude(path=ENDLESS)


brief, thorough = described(coverage=False), described(coverage=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that lets an admin do anything as often as it likes, and holds three images."""
    folder = tmp_path_factory.mktemp("schemathesis") / "data"
    _, key = open_keys(folder)
    its = Settings(gallery="memory:", data_dir=folder, sign_ins_per_minute=1_000_000)
    encoder = GreyPixelEncoder()
    with ExitStack() as stack:
        gallery = stack.enter_context(closing(open_gallery("memory:", encoder.spec)))
        address = stack.enter_context(served(create_app(its, encoder=encoder, gallery=gallery)))
        headers = {"X-API-Key": key or ""}
        one = Site(stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=30)))
        assert one.people(3).status_code == 201
        Key.value = key or ""
        yield one


@brief.auth()
@thorough.auth()
class Key:
    """The admin key, which a check leaves out to see that it is asked for."""

    value = ""

    def get(self, _: schemathesis.Case, __: schemathesis.AuthContext) -> str:
        return self.value

    def set(self, case: schemathesis.Case, key: str, _: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {key}"


def check(site: Site, case: schemathesis.Case) -> None:
    case.call_and_validate(base_url=str(site.http.base_url))


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_the_exceptions_are_operations_that_there_are() -> None:
    names = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert set(BEYOND_A_SCHEMA) <= names


@brief.parametrize()
@examples(5)
def test_the_answers_are_as_described(site: Site, case: schemathesis.Case) -> None:
    check(site, case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough.parametrize()
@examples(100)
def test_the_answers_are_as_described_at_length(site: Site, case: schemathesis.Case) -> None:
    check(site, case)
