"""``POST /search`` against the same work called directly: what HTTP, queue, keys and audit cost.

Both use the encoder that ships and an embedded gallery of the same images. Usage: serving.py
"""

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from clients.uploads import manifest_uploads
from exporter.bundle import default_bundle
from exporter.preprocess import load_image
from exporter.runtime import load_encoder
from index.gallery import open_gallery
from index.records import Where
from index.space import Modality
from peca_client import PecaClient
from training.datasets.synthetic import write_site

SEARCHES = 100
WARM_UP = 10


def median_ms(call: Callable[[bytes], object], queries: list[bytes]) -> float:
    """The median time of a call after a warm-up."""
    times = []
    for query in queries:
        began = time.perf_counter()
        call(query)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[WARM_UP:])


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], str, str]:
    """A server process on a new gallery: the process, its address and its key."""
    log = folder / "log"
    command = [sys.executable, "-m", "clients.cli", "serve", "--gallery", f"embedded:{folder / 'data'}"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--port", "0"], stdout=output, stderr=output, env=os.environ)
    while process.poll() is None:
        text = log.read_text()
        url, key = re.search(r"http://\S+", text), re.search(r"peca_\S+", text)
        if url and key:
            return process, url[0], key[0]
        time.sleep(0.1)
    raise SystemExit(log.read_text())


def direct_ms(data: Path, queries: list[bytes]) -> float:
    """Decode, encode and search called in this process."""
    encoder = load_encoder(default_bundle())
    with closing(open_gallery(f"embedded:{data}", encoder.spec, read_only=True)) as gallery:

        def search(query: bytes) -> object:
            image = load_image(query, encoder.image_hw)
            return gallery.search(
                encoder.encode(image[None], [Modality.VISIBLE]), 20, Where(modality=Modality.INFRARED)
            )

        return median_ms(search, queries)


def main() -> None:
    """Measure both ways and print the ratio."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        uploads = manifest_uploads(write_site(folder / "site", 48, 2, 7)).ready
        process, url, key = start_server(folder)
        try:
            with PecaClient(url, key) as client:
                client.ingest(uploads)
                visible = [Path(str(one.image)).read_bytes() for one in uploads if one.modality == "visible"]
                queries = (visible * SEARCHES)[: SEARCHES + WARM_UP]
                over_http = median_ms(lambda query: client.search(query, "visible"), queries)
                direct = direct_ms(folder / "data", queries)
        finally:
            process.terminate()
            process.wait()
    print(f"{len(uploads)} images, {SEARCHES} searches one after another, medians")
    print(f"direct {direct:.2f} ms   POST /search {over_http:.2f} ms   ratio {over_http / direct:.2f}")


if __name__ == "__main__":
    main()
