"""The demonstration: a synthetic site, from image files to ranked answers, over HTTP."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clients.sheet import Cell, Frame, Section, save_sheet
from clients.uploads import manifest_uploads
from exporter.bundle import default_bundle, read_bundle
from index.errors import InvalidInput, PecaError
from index.metrics import evaluate_ranking
from index.protocols import PLAIN
from index.space import Modality
from peca_client import ImageUpload, PecaClient, SearchResult
from training.datasets.synthetic import write_site

SEED = 20_260_401
IDENTITIES = 48
IMAGES_PER_CAMERA = 2
SHEET, REPORT = "contact-sheet.png", "report.json"

_MARK = ".peca-demo.json"
_START_LIMIT_S = 60
_SHEET_ROWS = 4
_TOP = 10
_TABLE_ROWS = 5


@dataclass(frozen=True, slots=True)
class Direction:
    """How well one modality finds the other; rates in [0, 1].

    Attributes:
        rank1: Share of queries whose best result shows the same person.
        mean_ap: Mean average precision over the whole ranking.
        chance_rank1: What a random ranking scores as ``rank1``.
        queries: Number of queries.
        gallery: Number of images searched.
    """

    rank1: float
    mean_ap: float
    chance_rank1: float
    queries: int
    gallery: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and what the server found for it."""

    query: ImageUpload
    result: SearchResult


def run_demo(out: Path, host: str, port: int, serve: bool) -> None:
    """Write a synthetic site, ingest it over HTTP, search both ways, report, and go on serving.

    Args:
        out: Folder of the site, the gallery, the contact sheet and ``report.json``. A gallery of an
            earlier demonstration in it is replaced.
        host: Address to serve on.
        port: Port to serve on; 0 takes a free one.
        serve: Whether to leave the server running until interrupted.

    Raises:
        PecaError: The server did not start, or refused an image.
    """
    console = Console(emoji=False)
    # Whoever ends the demonstration by SIGTERM must not leave its server behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print(
        f"[bold]PECA demonstration[/] on [bold]synthetic[/] people: {IDENTITIES} identities that the "
        "encoder never saw, 2 visible and 2 infrared cameras"
    )
    _claim(out)
    site = _write_site(out, console)
    # The key of an earlier server is stored hashed and cannot be shown again, so each run begins anew.
    shutil.rmtree(out / "gallery", ignore_errors=True)
    with _server(out / "gallery", host, port) as (url, key), PecaClient(url, key) as client:
        people = _ingest(client, site, console)
        answers = {modality: _search(client, people, modality, console) for modality in Modality}
        scores = {modality: _score(answers[modality]) for modality in Modality}
        _print_rankings(answers, console)
        _print_scores(scores, console)
        _save_sheet(out / SHEET, client, answers)
        _save_report(out / REPORT, scores)
        console.print(f"contact sheet: {out / SHEET}\nreport:        {out / REPORT}", highlight=False)
        if serve:
            _wait(url, key, answers[Modality.VISIBLE][0].query, console)


def _claim(out: Path) -> None:
    """Mark ``out`` as a demonstration's, so that a later one may replace what this one writes there.

    Raises:
        InvalidInput: It holds a site or a gallery that no demonstration made.
    """
    mark = out / _MARK
    strangers = [name for name in ("site", "gallery") if (out / name).exists()]
    if strangers and not mark.is_file():
        raise InvalidInput(
            f"{out} holds {' and '.join(strangers)}, not made by a demonstration, which would replace them; "
            "choose another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _write_site(out: Path, console: Console) -> Path:
    """The folder of the site's images; written once, and anew when what it should show changed."""
    site, made = out / "site", out / _MARK
    asked = json.dumps({"seed": SEED, "identities": IDENTITIES, "images_per_camera": IMAGES_PER_CAMERA})
    if made.read_text(encoding="utf-8") == asked:
        return site
    shutil.rmtree(site, ignore_errors=True)
    with console.status("drawing people"):
        write_site(site, IDENTITIES, IMAGES_PER_CAMERA, SEED)
    made.write_text(asked, encoding="utf-8")
    return site


@contextmanager
def _server(gallery: Path, host: str, port: int) -> Iterator[tuple[str, str]]:
    """A server process on an empty gallery: its address and its first admin key."""
    gallery.parent.mkdir(parents=True, exist_ok=True)
    log = gallery.parent / "server.log"
    command = [sys.executable, "-m", "clients.cli", "serve"]
    command += ["--gallery", f"embedded:{gallery}", "--host", host, "--port", str(port)]
    log.touch(mode=0o600)  # it holds the key
    with log.open("w+b") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield _address_and_key(process, log)
        finally:
            process.terminate()
            process.wait()


def _address_and_key(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        if process.poll() is not None:
            raise PecaError(f"the server ended at once; it said:\n{text.strip()}")
        key, url = re.search(r"peca_[\w-]{20,}", text), re.search(r"https?://[\w.\[\]:-]+:\d+", text)
        if key and url:
            with PecaClient(url[0], key[0]) as client:
                if client.ready().ready:
                    return url[0], key[0]
        time.sleep(0.1)
    raise PecaError(f"the server was not ready after {_START_LIMIT_S} s; see {log}")


def _ingest(client: PecaClient, site: Path, console: Console) -> Sequence[ImageUpload]:
    uploads = manifest_uploads(site / "manifest.csv").ready
    with console.status(f"ingesting {len(uploads)} images through POST /images"):
        began = time.perf_counter()
        report = client.ingest(uploads)
        elapsed = time.perf_counter() - began
    failed = [item for item in report.items if item.image_id is None]
    if failed or report.stored != len(uploads):
        raise PecaError(f"only {report.stored} of {len(uploads)} images were stored; first: {failed[:1]}")
    console.print(f"ingested {report.stored} images in {elapsed:.1f} s", highlight=False)
    return uploads


def _search(
    client: PecaClient, people: Sequence[ImageUpload], modality: Modality, console: Console
) -> list[Answer]:
    """Search every image of one modality among all of the other."""
    queries = [one for one in people if one.modality == modality]
    limit = len(people) - len(queries)

    def ask(query: ImageUpload) -> Answer:
        return Answer(query, client.search(query.image, modality, limit=limit, reason="demonstration"))

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(ask, queries)
        label = f"{modality} queries, {modality.other} gallery"
        return list(track(answers, label, total=len(queries), console=console, transient=True))


def _score(answers: Sequence[Answer]) -> Direction:
    """Rank-1 and mAP of the rankings that the server gave."""
    found = sorted({(hit.image_id, hit.person_id or "") for hit in answers[0].result.items})
    column = {image_id: position for position, (image_id, _) in enumerate(found)}
    similarity = np.full((len(answers), len(found)), -1.0, dtype=np.float32)
    for row, answer in enumerate(answers):
        for hit in answer.result.items:
            similarity[row, column[hit.image_id]] = hit.score
    queries = np.array([answer.query.person_id for answer in answers])
    gallery = np.array([person for _, person in found])
    nowhere_q, nowhere_g = np.full(len(queries), ""), np.full(len(gallery), "")
    metrics = evaluate_ranking(similarity, queries, gallery, nowhere_q, nowhere_g, PLAIN)
    chance = float((queries[:, None] == gallery[None, :]).mean())
    return Direction(float(metrics.cmc[0]), float(metrics.mean_ap), chance, len(queries), len(gallery))


def _print_rankings(answers: dict[Modality, list[Answer]], console: Console) -> None:
    table = Table("query", "person", *(f"{rank}" for rank in range(1, _TABLE_ROWS + 1)), title="Rankings")
    for modality, given in answers.items():
        for answer in _sample(given, _SHEET_ROWS):
            hits = [_marked(answer, rank) for rank in range(_TABLE_ROWS)]
            table.add_row(f"{modality}, {answer.query.camera_id}", answer.query.person_id, *hits)
    console.print(table)


def _marked(answer: Answer, rank: int) -> str:
    hit = answer.result.items[rank]
    colour = "green" if hit.person_id == answer.query.person_id else "dim"
    return f"[{colour}]{hit.person_id} {hit.score:.2f}[/]"


def _print_scores(scores: dict[Modality, Direction], console: Console) -> None:
    table = Table("query to gallery", "queries", "gallery", "R1", "mAP", "chance R1", title="Synthetic site")
    for modality, score in scores.items():
        table.add_row(
            f"{modality} to {modality.other}",
            str(score.queries),
            str(score.gallery),
            f"{score.rank1:.1%}",
            f"{score.mean_ap:.1%}",
            f"{score.chance_rank1:.1%}",
        )
    console.print(table)


def _save_sheet(path: Path, client: PecaClient, answers: dict[Modality, list[Answer]]) -> None:
    sections = [
        Section(
            f"{modality} query (left), its first {_TOP} in the {modality.other} cameras; "
            "green frame: the same person",
            [_row(client, answer) for answer in _sample(given, _SHEET_ROWS)],
        )
        for modality, given in answers.items()
    ]
    save_sheet(path, sections)


def _row(client: PecaClient, answer: Answer) -> list[Cell | None]:
    with Image.open(str(answer.query.image)) as image:
        cells: list[Cell | None] = [Cell(image.copy(), answer.query.camera_id, Frame.QUERY)]
    for hit in answer.result.items[:_TOP]:
        thumbnail = Image.open(io.BytesIO(client.thumbnail(hit.image_id)))
        frame = Frame.SAME if hit.person_id == answer.query.person_id else Frame.OTHER
        cells.append(Cell(thumbnail, f"{hit.score:.2f}", frame))
    return cells


def _sample(answers: Sequence[Answer], count: int) -> list[Answer]:
    """Evenly spread over the queries, whatever they score."""
    return [answers[position * len(answers) // count] for position in range(count)]


def _save_report(path: Path, scores: dict[Modality, Direction]) -> None:
    report = {
        "data": f"synthetic site, {IDENTITIES} identities, seed {SEED}",
        "encoder": read_bundle(default_bundle()).fingerprint,
        **{f"{modality}_to_{modality.other}": asdict(score) for modality, score in scores.items()},
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _wait(url: str, key: str, query: ImageUpload, console: Console) -> None:
    image, peca = str(query.image), Path(sys.executable).with_name("peca")
    console.print(
        f"\nserving at {url}\nadmin key: {key}\n\n"
        "open that address in a browser and sign in with the key, or search from another terminal:\n"
        f"  export PECA_URL={url} PECA_API_KEY={key}\n"
        f"  {peca} search {image} --query-modality {query.modality} --show found.png\n\n"
        "Ctrl-C stops it.",
        highlight=False,
        soft_wrap=True,
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopped")
