"""Full mixed load for some minutes: no error but 429, memory that stays flat, nothing acknowledged lost.

Usage: soak.py [--minutes 15] [--encoder BUNDLE]

Searches, batches of ingest, lists, what cannot be an image, and a person who judges, exports and reads the
audit log come from several clients at once; a watchlist's hits are listened to. The gallery is filled
first, and as at a site that keeps its images for some days, all but the newest are removed every few
seconds, so that its size stands; the medians of memory of the minutes after the first fifth are compared.
At the end the server is stopped, started again on the same folder, and asked for every image that it
acknowledged and was not told to remove. Ends with 1 where it fails.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from load import (
    BEGAN,
    Server,
    Tally,
    ask,
    client,
    get_request,
    ingest_request,
    json_request,
    search_request,
    serving,
)

from training.datasets.synthetic import write_site

SEARCHERS, SENDERS, BATCH = 16, 3, 32
GROWTH = 1.05
KEPT = 3_000
LISTS = ["/cameras", "/readyz", "/metrics", "/stats", "/images?limit=50", "/searches?limit=20", "/version"]
WATCH = {"name": "soak", "threshold": "0.5", "case": "soak", "reason": "load"}
_PAUSE_S = 0.02
_RETIRE_S = 5


def getting(server: Server, paths: list[str]) -> Iterator[bytes]:
    """Requests for these paths in turn."""
    for path in itertools.cycle(paths):
        yield get_request(server, path)


async def watch_memory(server: Server, until: float, resident: list[tuple[float, int]]) -> None:
    """Note the memory each second."""
    while time.monotonic() < until:
        resident.append((time.monotonic(), server.resident_bytes()))
        await asyncio.sleep(1)


@dataclass
class Sent:
    """The batches that were sent.

    Attributes:
        newest: Number of the newest image.
        oldest: All images of lower numbers were removed.
    """

    newest: int = 0
    oldest: int = 0

    def batches(self, server: Server, files: list[bytes]) -> Iterator[bytes]:
        """Ingest of new images without an end."""
        while True:
            self.newest += len(files)
            yield ingest_request(server, files, self.newest - len(files))

    async def retire(self, server: Server, until: float, tally: Tally) -> None:
        """Remove all but the newest images, every few seconds."""
        while time.monotonic() < until:
            await asyncio.sleep(_RETIRE_S)
            if self.newest <= KEPT:
                continue
            self.oldest = self.newest - KEPT
            before = (BEGAN + timedelta(seconds=self.oldest)).isoformat().replace("+00:00", "Z")
            request = (
                f"DELETE /images?before={before}&dry_run=false HTTP/1.1\r\n"
                f"Host: {server.host}\r\nX-API-Key: {server.key}\r\n\r\n"
            )
            reader, writer = await asyncio.open_connection(server.host, server.port)
            asked = time.monotonic()
            status, _ = await ask(reader, writer, request.encode())
            tally.note(status, time.monotonic() - asked)
            writer.close()


@dataclass
class Asked:
    """What one kind of client was answered, and what it may be.

    Attributes:
        may_be: The statuses that are no failure, beside 429.
        tally: Of its answers.
    """

    may_be: set[int]
    tally: Tally = field(default_factory=Tally)

    def unforeseen(self) -> dict[int, int]:
        """Answers that no such client should get, by status."""
        return {
            status: count
            for status, count in self.tally.statuses.items()
            if status not in self.may_be and status != 429
        }


class Desk:
    """A person at work: searches, judges, looks at the record and the audit log, and exports."""

    def __init__(self, server: Server, searches: list[bytes], asked: Asked) -> None:
        self._server = server
        self._searches = itertools.cycle(searches)
        self._asked = asked

    async def work(self, until: float) -> None:
        """Go on until the monotonic clock says ``until``."""
        reader, writer = await asyncio.open_connection(self._server.host, self._server.port)

        async def say(request: bytes) -> bytes:
            began = time.monotonic()
            status, body = await ask(reader, writer, request)
            self._asked.tally.note(status, time.monotonic() - began)
            await asyncio.sleep(_PAUSE_S)
            return body if status < 300 else b""

        while time.monotonic() < until:
            found = await say(next(self._searches))
            if not found or not (items := json.loads(found)["items"]):
                continue
            at = f"/searches/{json.loads(found)['search_id']}"
            verdict = {"image_id": items[0]["image_id"], "verdict": "confirmed"}
            await say(json_request(self._server, f"{at}/verdicts", verdict))
            for path in (at, f"{at}/export", "/audit?limit=20", items[0]["thumbnail_url"]):
                await say(get_request(self._server, path))
        writer.close()


async def hear(server: Server, until: float, heard: list[int]) -> None:
    """Listen to the hits of watchlists, and count their bytes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(get_request(server, "/events"))
    while (left := until - time.monotonic()) > 0:
        with suppress(TimeoutError):
            came = await asyncio.wait_for(reader.read(1 << 16), left)
            if not came:
                raise SystemExit("failed: the stream of events ended by itself")
            heard.append(came.count(b"event: hit"))
    writer.close()


@dataclass
class Load:
    """What came of a load.

    Attributes:
        asked: Of each kind of client, by its name.
        held: The images that the server acknowledged and was not told to remove.
        resident: Its memory by the second, bytes.
        heard: How many hits of a watchlist came over the event stream.
    """

    asked: dict[str, Asked]
    held: list[str]
    resident: list[int]
    heard: int


async def mixed(server: Server, images: list[bytes], minutes: float) -> Load:
    """Load the server with all that its users do."""
    stored, sent = list[str](), Sent()
    files = [images[number % len(images)] for number in range(BATCH)]
    searches = [search_request(server, image) for image in images]
    bad = [search_request(server, data) for data in (b"no image", images[0][:300], b"")]
    asked = {
        "search": Asked({200}),
        "ingest": Asked({200, 201}),
        "remove": Asked({200}),
        "no image": Asked({415, 422}),
        "lists": Asked({200}),
        # What a search shows may be removed before it is judged or looked at.
        "desk": Asked({200, 201, 404}),
    }

    async def keep(status: int, body: bytes) -> None:
        if status == 201:
            stored.extend(item["image_id"] for item in json.loads(body)["items"])

    async def breathe(_: int, __: bytes) -> None:
        await asyncio.sleep(_PAUSE_S)

    reader, writer = await asyncio.open_connection(server.host, server.port)
    for batch in sent.batches(server, files):
        await keep(*await ask(reader, writer, batch))
        if sent.newest >= KEPT:
            break
    writer.close()
    until, resident, heard = time.monotonic() + 60 * minutes, list[tuple[float, int]](), list[int]()
    await asyncio.gather(
        watch_memory(server, until, resident),
        *(client(server, itertools.cycle(searches), until, asked["search"].tally) for _ in range(SEARCHERS)),
        *(
            client(server, batches, until, asked["ingest"].tally, keep)
            for batches in [sent.batches(server, files)] * SENDERS
        ),
        sent.retire(server, until, asked["remove"].tally),
        client(server, itertools.cycle(bad), until, asked["no image"].tally, breathe),
        client(server, getting(server, LISTS), until, asked["lists"].tally, breathe),
        Desk(server, searches, asked["desk"]).work(until),
        hear(server, until, heard),
    )
    held = [image_id for image_id in stored if int(image_id.removeprefix("load-")) >= sent.oldest]
    return Load(asked, held, [size for _, size in resident], sum(heard))


async def missing(server: Server, stored: list[str]) -> list[str]:
    """The images that the server does not know, or has no file of."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    paths = (f"/images/{image_id}/thumbnail" for image_id in stored)
    lost = []
    for image_id, request in zip(stored, getting(server, list(paths)), strict=False):
        status, _ = await ask(reader, writer, request)
        if status != 200:
            lost.append(image_id)
    writer.close()
    return lost


def main() -> None:
    """Load, stop, start, look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--encoder", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        site = write_site(folder / "site", 16, 2, 7)
        images = [path.read_bytes() for path in sorted(site.parent.rglob("*.jpg"))]
        with serving(folder, asked.encoder) as server:
            watch = {"image": ("query.jpg", images[0])}, {"query_modality": "visible", **WATCH}
            with httpx.Client(base_url=server.url, headers={"X-API-Key": server.key}) as http:
                http.post("/watchlists", files=watch[0], data=watch[1]).raise_for_status()
            came = asyncio.run(mixed(server, images, asked.minutes))
        again = stack.enter_context(serving(folder, asked.encoder, server.key))
        lost = asyncio.run(missing(again, came.held))
    settled = came.resident[len(came.resident) // 5 :]
    # By the minute, since the index is made anew beside the searches now and then.
    medians = [statistics.median(settled[start : start + 60]) for start in range(0, len(settled), 60)]
    growth = max(medians) / medians[0]
    unforeseen = {name: wrong for name, one in came.asked.items() if (wrong := one.unforeseen())}
    print(f"{asked.minutes:g} minutes; answers by client and status:")
    for name, one in came.asked.items():
        print(f"  {name}: {one.tally.statuses}, p95 {one.tally.quantile_ms(0.95):.0f} ms")
    print(f"{came.heard} hits of a watchlist heard")
    print(f"memory by the minute: {', '.join(f'{size / 1e6:.0f}' for size in came.resident[::60])} MB")
    print(
        f"medians of the minutes after the first fifth: {medians[0] / 1e6:.0f} MB, "
        f"most {max(medians) / 1e6:.0f} MB, x {growth:.3f}; at one moment {max(settled) / 1e6:.0f} MB"
    )
    print(f"{len(came.held)} images acknowledged and not removed, {len(lost)} lost")
    if unforeseen or lost or growth > GROWTH or not came.heard:
        raise SystemExit(f"failed: errors {unforeseen}, lost {lost[:5]}, growth {growth:.3f}")


if __name__ == "__main__":
    main()
