"""What HTTP, queue, keys and audit cost, beside the same work called directly.

Usage: serving.py [--encoder BUNDLE | --untrained PECA] [--seconds 10] [--rounds 3]

Each figure is a ratio of two measurements of one run, taken in turn: ``/search`` of one client against
decode, encode and gallery search in this process; searches of 32 clients and batches of ingest against
the encoder's own images a second; a search during full ingest against one of an idle server.
``--untrained`` measures the network of a recipe at its full size, which computes far more than the encoder
that ships.
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from load import Server, Tally, client, ingest_request, search_request, serving

from clients.uploads import manifest_uploads
from exporter.bundle import Precision, default_bundle
from exporter.preprocess import load_image
from exporter.runtime import Encoder, load_encoder
from index.gallery import Gallery, open_gallery
from index.records import Where
from index.space import Modality
from peca_client import PecaClient
from server.batching import WORKERS
from server.processors import share_processors
from training.datasets.synthetic import write_site
from training.freeze import freeze_untrained
from training.recipe import load_recipe

CLIENTS = 32
INGEST_CLIENTS = 4
BATCH = 64
BATCH_SIZES = (1, 8, 16, 32)
CALLERS = (1, WORKERS)


def direct_seconds(encoder: Encoder, gallery: Gallery, queries: list[bytes]) -> list[float]:
    """The times of decode, encode and search in this process."""
    times = []
    for query in queries:
        began = time.monotonic()
        image = load_image(query, encoder.image_hw)
        vector = encoder.encode(image[None], [Modality.VISIBLE])
        gallery.search(vector, 20, Where(modality=Modality.INFRARED))
        times.append(time.monotonic() - began)
    return times


def raw_images_s(encoder: Encoder, seconds: float) -> float:
    """The encoder's images a second, by as many callers at once and in batches of the size that suit it."""
    forms = list(itertools.product(CALLERS, BATCH_SIZES))

    def called(callers: int, size: int) -> float:
        images = np.random.default_rng(0).integers(0, 255, (size, *encoder.image_hw, 3), dtype=np.uint8)
        began = time.monotonic()

        def call(_: int) -> int:
            done = 0
            while time.monotonic() - began < seconds / len(forms):
                encoder.encode(images, [Modality.VISIBLE] * size)
                done += size
            return done

        with ThreadPoolExecutor(callers) as threads:
            done = sum(threads.map(call, range(callers)))
        return done / (time.monotonic() - began)

    return max(called(*form) for form in forms)


def load(server: Server, streams: list[Iterator[bytes]], seconds: float) -> tuple[Tally, float]:
    """Ask by one client a stream at a time; what came of it, and how long it took."""
    tally, began = Tally(), time.monotonic()

    async def run() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(client(server, stream, until, tally) for stream in streams))

    asyncio.run(run())
    assert set(tally.statuses) <= {200, 201}, tally.statuses
    return tally, time.monotonic() - began


class Bench:
    """One server, one encoder of the same kind in this process, and what both are asked."""

    def __init__(self, server: Server, encoder: Encoder, images: list[bytes], seconds: float) -> None:
        self.server = server
        self.encoder = encoder
        self.images = images
        self.seconds = seconds
        self.searches = [search_request(server, image) for image in images]
        self._first = itertools.count(0, BATCH)

    def searching(self) -> Iterator[bytes]:
        """Searches without an end."""
        return itertools.cycle(self.searches)

    def ingesting(self) -> Iterator[bytes]:
        """Batches of new images without an end."""
        files = [self.images[number % len(self.images)] for number in range(BATCH)]
        return (ingest_request(self.server, files, first) for first in self._first)

    def one_client(self, gallery: Gallery, rounds: int) -> float:
        """The ratio of the medians of ``/search`` and of the same work called directly."""
        direct: list[float] = []
        http = Tally()
        for _ in range(4 * rounds):
            direct += direct_seconds(self.encoder, gallery, self.images[:25])[5:]
            http.seconds += load(self.server, [self.searching()], self.seconds / 4)[0].seconds
        mean_direct, over_http = 1000 * statistics.median(direct), http.quantile_ms(0.5)
        print(f"one client: direct {mean_direct:.2f} ms, POST /search {over_http:.2f} ms")
        return over_http / mean_direct

    def against_raw(self, name: str, streams: int, images: int, rounds: int) -> float:
        """The ratio of images a second through the server and through the encoder alone, by rounds."""
        ratios = []
        for _ in range(rounds):
            raw = raw_images_s(self.encoder, self.seconds)
            asked = [self.searching() if images == 1 else self.ingesting() for _ in range(streams)]
            tally, took = load(self.server, asked, self.seconds)
            ratios.append(images * len(tally.seconds) / took / raw)
            print(f"{name}: {ratios[-1] * raw:.0f} images/s, the encoder alone {raw:.0f}")
        return statistics.median(ratios)

    def during_ingest(self, rounds: int) -> float:
        """The ratio of the 95th percentiles of a search during full ingest and of one alone."""
        idle, busy = Tally(), Tally()
        for _ in range(rounds):
            idle.seconds += load(self.server, [self.searching()], self.seconds)[0].seconds

            async def both() -> None:
                until = time.monotonic() + self.seconds
                senders = [
                    client(self.server, self.ingesting(), until, Tally()) for _ in range(INGEST_CLIENTS)
                ]
                await asyncio.gather(client(self.server, self.searching(), until, busy), *senders)

            asyncio.run(both())
        low, high = idle.quantile_ms(0.95), busy.quantile_ms(0.95)
        print(f"95th percentile of a search: idle {low:.1f} ms, during full ingest {high:.1f} ms")
        return high / low


def compare(bundle: Path, seconds: float, rounds: int) -> None:
    """Serve the encoder of ``bundle``, measure all four ratios, and print them with their targets."""
    encoder = load_encoder(bundle)
    share_processors()  # as the server does, so that both sides of a ratio run alike
    with TemporaryDirectory() as name, serving(Path(name), bundle) as server:
        uploads = manifest_uploads(write_site(Path(name) / "site", 48, 2, 7)).ready
        with PecaClient(server.url, server.key) as peca:
            peca.ingest(uploads)
        images = [Path(str(one.image)).read_bytes() for one in uploads if one.modality == "visible"]
        bench = Bench(server, encoder, images, seconds)
        load(server, [bench.searching() for _ in range(8)], 1)
        with closing(open_gallery(f"embedded:{server.data}", encoder.spec, read_only=True)) as gallery:
            ratios = {"one client, p50 (at most 1.25)": bench.one_client(gallery, rounds)}
        ratios[f"{CLIENTS} clients (at least 0.85)"] = bench.against_raw("search", CLIENTS, 1, rounds)
        ratios["ingest (at least 0.85)"] = bench.against_raw("ingest", INGEST_CLIENTS, BATCH, rounds)
        ratios["search during ingest, p95 (at most 3)"] = bench.during_ingest(rounds)
    print(f"{len(uploads)} images, encoder {encoder.spec.encoder} on {encoder.provider}")
    for told, ratio in ratios.items():
        print(f"{told}: {ratio:.2f}")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--encoder", type=Path, help="a bundle; the one that ships where none is named")
    network.add_argument("--untrained", help="a recipe of `peca train`, in fp32")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        bundle = asked.encoder or default_bundle()
        if asked.untrained:
            bundle = freeze_untrained(
                load_recipe(asked.untrained), Path(folder) / "bundle", [Precision.FP32]
            ).path
        compare(bundle, asked.seconds, asked.rounds)


if __name__ == "__main__":
    main()
