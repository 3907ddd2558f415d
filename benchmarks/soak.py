"""Full mixed load for some minutes: no error but 429, memory that stays flat, nothing acknowledged lost.

Usage: soak.py [--minutes 15] [--encoder BUNDLE]

Searches, batches of ingest, lists, thumbnails and what cannot be an image come from several clients at
once. As at a site that keeps its images for some days, all but the newest are removed every few seconds,
so that the gallery, and with it the memory that it takes, comes to a standing size within the first
fifth; the medians of the minutes after it are compared. At the end the server is stopped, started again
on the same folder, and asked for every image that it acknowledged and was not told to remove. Ends with
1 where it fails.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from load import BEGAN, Server, Tally, ask, client, ingest_request, search_request, serving

from training.datasets.synthetic import write_site

SEARCHERS, SENDERS, BATCH = 16, 3, 32
GROWTH = 1.05
KEPT = 2_000
_PAUSE_S = 0.02
_RETIRE_S = 5


def getting(server: Server, paths: list[str]) -> Iterator[bytes]:
    """Requests for these paths in turn."""
    for path in itertools.cycle(paths):
        yield f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\nX-API-Key: {server.key}\r\n\r\n".encode()


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


async def mixed(server: Server, images: list[bytes], minutes: float) -> tuple[Tally, list[str], list[int]]:
    """Load the server; what it answered, the ids that it holds, and its memory by the second."""
    began = time.monotonic()
    until, tally, stored = began + 60 * minutes, Tally(), list[str]()
    resident: list[tuple[float, int]] = []
    sent = Sent()
    files = [images[number % len(images)] for number in range(BATCH)]
    searches = [search_request(server, image) for image in images]
    bad = [search_request(server, data) for data in (b"no image", images[0][:300], b"")]

    async def keep(status: int, body: bytes) -> None:
        if status == 201:
            stored.extend(item["image_id"] for item in json.loads(body)["items"])

    async def breathe(_: int, __: bytes) -> None:
        await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(
        watch_memory(server, until, resident),
        *(client(server, itertools.cycle(searches), until, tally) for _ in range(SEARCHERS)),
        *(client(server, batches, until, tally, keep) for batches in [sent.batches(server, files)] * SENDERS),
        sent.retire(server, until, tally),
        client(server, itertools.cycle(bad), until, tally, breathe),
        client(
            server,
            getting(server, ["/cameras", "/readyz", "/metrics", "/images/load-0/thumbnail"]),
            until,
            tally,
            breathe,
        ),
    )
    held = [image_id for image_id in stored if int(image_id.removeprefix("load-")) >= sent.oldest]
    return tally, held, [size for _, size in resident]


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
            tally, stored, resident = asyncio.run(mixed(server, images, asked.minutes))
        again = stack.enter_context(serving(folder, asked.encoder, server.key))
        lost = asyncio.run(missing(again, stored))
    settled = resident[len(resident) // 5 :]
    # By the minute, since the index is made anew beside the searches now and then.
    medians = [statistics.median(settled[start : start + 60]) for start in range(0, len(settled), 60)]
    growth = max(medians) / medians[0]
    unforeseen = {
        status: count
        for status, count in tally.statuses.items()
        if status not in (200, 201, 404, 415, 422, 429)
    }
    print(f"{asked.minutes:g} minutes, answers by status {tally.statuses}")
    print(f"memory by the minute: {', '.join(f'{size / 1e6:.0f}' for size in resident[::60])} MB")
    print(
        f"medians of the minutes after the first fifth: {medians[0] / 1e6:.0f} MB, "
        f"most {max(medians) / 1e6:.0f} MB, x {growth:.3f}; at one moment {max(settled) / 1e6:.0f} MB"
    )
    print(f"{len(stored)} images acknowledged and not removed, {len(lost)} lost")
    if unforeseen or lost or growth > GROWTH:
        raise SystemExit(f"failed: errors {unforeseen}, lost {lost[:5]}, growth {growth:.3f}")


if __name__ == "__main__":
    main()
