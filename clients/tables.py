"""What the commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from clients.paper import PaperScores
from exporter.bundle import Bundle, Precision
from index.distances import Distances, Distribution, Pairing
from index.evaluation import EvaluationReport, Scores
from index.records import CameraSummary
from index.space import Modality
from index.wording import counted
from peca_client import IngestReport, IngestStatus, SearchResult

if TYPE_CHECKING:
    from index.embedded.stats import GalleryStats
    from index.embedded.verification import Verification

PIPED_WIDTH = 160
_HIT_COLUMNS = ("rank", "score", "image", "camera", "captured (UTC)", "person")
_SCORES = {
    "rank1": "R1",
    "rank5": "R5",
    "rank10": "R10",
    "rank20": "R20",
    "mean_ap": "mAP",
    "mean_inp": "mINP",
    "chance_rank1": "chance R1",
}


def console() -> Console:
    """Standard output, as it is: a site's names may hold what rich reads as mark-up, or ``:back:``.

    A pipe has no width of its own, so it gets one that wraps nothing needed.
    """
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def print_json(value: dict[str, Any]) -> None:
    """Print ``value`` as JSON, instants in ISO 8601."""
    print(json.dumps(value, indent=2, default=_plain))


def print_hits(result: SearchResult) -> None:
    """Print the hits of a search, best first."""
    if result.items:
        console().print(_hit_table(result))
    for number, light in enumerate(result.query_modalities, start=1):
        if light.detected:
            print(f"query image {number} was taken for {light.modality} (confidence {light.confidence:.2f})")
    order = ", ordered by shared neighbours, not by score" if result.reranked else ""
    console().print(
        f"{len(result.items) or 'nothing'} found in {result.gallery_modality} images{order}; "
        f"search {result.search_id}, encoder {result.encoder}",
    )
    if not result.items:
        print("see what the gallery holds by: peca-client cameras")


def _hit_table(result: SearchResult) -> Table:
    grouped = any(hit.group_size > 1 for hit in result.items)
    names = (*_HIT_COLUMNS, "track", "images") if grouped else _HIT_COLUMNS
    table = Table(*(Column(name, overflow="fold") for name in names))
    for hit in result.items:
        captured_at = f"{hit.captured_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        # Text, since rich would read [..] in a site's names as mark-up.
        cells = [hit.image_id, hit.camera_id, captured_at, hit.person_id or ""]
        cells += [hit.track_id or "", str(hit.group_size)] if grouped else []
        table.add_row(str(hit.rank), f"{hit.score:.4f}", *map(Text, cells))
    return table


def ingest_json(report: IngestReport) -> dict[str, Any]:
    """The counts of an ingest by status, and each refusal with its reason."""
    counts = {status.value: report.count(status) for status in IngestStatus}
    return {
        **counts,
        "refusals": _reasons(report, IngestStatus.REFUSED),
        "conflicts": _reasons(report, IngestStatus.CONFLICT),
    }


def print_ingest(report: IngestReport) -> None:
    """Print the counts of an ingest by status, then what was not taken, each with its reason."""
    counts = Table("status", "images")
    for status in IngestStatus:
        counts.add_row(status.value, f"{report.count(status):,}")
    console().print(counts)
    for status in (IngestStatus.REFUSED, IngestStatus.CONFLICT):
        for one in _reasons(report, status):
            console().print(f"{status}: {one['filename']}: {one['reason']}", soft_wrap=True)


def print_evaluation(report: EvaluationReport, paper: PaperScores | None = None) -> None:
    """Print the scores of an evaluation in percent, with the sizes that they were measured on.

    Args:
        report: The evaluation.
        paper: The paper's row for the same test, to stand below.
    """
    first, trials = report.trials[0], len(report.trials)
    tried = counted(trials, f"{report.draws} trial")
    drawn = f", {report.shots} shot, {tried}" if report.draws is not None else ""
    averaged = f", mean of {trials} reports" if report.draws is None and trials > 1 else ""
    title = f"{report.protocol}: {report.query_modality} to {report.gallery_modality}{drawn}{averaged}"
    title += ", re-ranked" if report.reranked else ""
    table = Table("", *_SCORES.values(), title=title)
    table.add_row("mean %", *_percent(report.mean))
    if trials > 1:
        table.add_row("spread", *_percent(report.spread))
    if paper is not None:
        reported = asdict(paper)
        row = [f"{100 * reported[name]:.2f}" if name in reported else "" for name in _SCORES]
        table.add_row(f"PECA, Table {paper.table}", *row)
    console().print(table)
    console().print(
        f"{counted(first.queries, 'query', 'queries')}, {first.valid_queries:,} of them with a match, "
        f"{counted(first.gallery, 'gallery image')}{' (first trial)' if trials > 1 else ''}; "
        f"{counted(report.unlabelled, 'unlabelled image')} took no part; encoder {report.encoder}",
    )
    if paper is not None:
        console().print(_beside(report, paper), soft_wrap=True)


def _beside(report: EvaluationReport, paper: PaperScores) -> str:
    """What may be read from the two rows together."""
    test = f"{paper.data_set} itself ({paper.queries:,} queries, {paper.gallery:,} gallery images a trial)"
    verdict = (
        "The sizes here are the same; the rows compare if the images are that data set's, too."
        if paper.has_sizes_of(report)
        else "The sizes here are others, so this is another test and the rows do not compare."
    )
    return f"PECA, Table {paper.table}: the paper's figures, on {test}. {verdict}"


def print_distances(distances: Distances) -> None:
    """Print the mean distances of one person's pairs and of two people's, and the gaps between them."""
    visible, infrared = (distances.images[modality] for modality in Modality)
    title = (
        f"cosine distances: {distances.people:,} people, {visible:,} visible and {infrared:,} infrared images"
    )
    table = Table("pairs", "one person", "different people", "separation", title=title)
    for pairing in Pairing:
        same, different = distances.same[pairing], distances.different[pairing]
        gap = distances.separation(pairing)
        table.add_row(pairing.words, _spread(same), _spread(different), "" if gap is None else f"{gap:.3f}")
    console().print(table)
    gap = distances.modality_gap
    if gap is not None:
        console().print(
            f"modality gap {gap:.3f}: one person's images lie that much further apart across modalities than "
            "within one",
        )


def _spread(distribution: Distribution) -> str:
    if distribution.mean is None:
        return "no pair"
    return f"{distribution.mean:.3f} ± {distribution.std:.3f}"


def print_counts(counts: dict[str, Any], title: str) -> None:
    """Print a tree of counts as rows of dotted name and value."""
    table = Table("what", "count", title=Text(title))
    for name, value in _leaves(counts):
        table.add_row(name, Text(f"{value:,}" if isinstance(value, int) else str(value)))
    console().print(table)


def print_gallery(stats: "GalleryStats", gallery: str) -> None:
    """Print what a gallery holds by camera and modality, then what it takes on the disk."""
    console().print(_camera_table(stats.cameras, gallery))
    people = counted(stats.people, "labelled person", "labelled people")
    console().print(
        f"{counted(stats.images, 'image')}, {people}, "
        f"encoder {stats.encoder} ({stats.dim} numbers a vector)\n"
        f"on the disk: database {size_text(stats.database_bytes)}, "
        f"index file {size_text(stats.index_file_bytes)}, "
        f"{counted(stats.image_files, 'image file')} {size_text(stats.image_bytes)}",
        soft_wrap=True,
    )


def print_verification(found: "Verification", gallery: str, images: Path | None) -> None:
    """Print each fault, then what was looked at."""
    for fault in found.faults:
        console().print(fault, soft_wrap=True)
    files = (
        "image files left out"
        if found.image_files is None
        else f"{counted(found.image_files, 'image file')} in {images}"
    )
    index = "index file" if found.has_index_file else "no index file"
    verdict = counted(len(found.faults), "fault") if found.faults else "no fault"
    console().print(
        f"{gallery}: {verdict}; {counted(found.images, 'image')}, {index}, {files}",
        soft_wrap=True,
    )


def print_erasable(cameras: Sequence[CameraSummary]) -> None:
    """Print what would be erased, by camera and modality."""
    total = sum(camera.count for camera in cameras)
    if not total:
        print("no image would be erased")
        return
    console().print(_camera_table(cameras, "would be erased"))
    print(f"{counted(total, 'image')} would be erased; add --yes to erase {'it' if total == 1 else 'them'}")


def print_dated_ahead(cameras: Sequence[CameraSummary]) -> None:
    """Print of which cameras images are dated ahead of the clock, where there are such."""
    if not cameras:
        return
    total = sum(camera.count for camera in cameras)
    named = ", ".join(sorted({camera.camera_id for camera in cameras}))
    last = max(camera.last_captured_at for camera in cameras)
    print(
        f"{counted(total, 'image')} of {named} {'is' if total == 1 else 'are'} dated more than a day ahead, "
        f"up to {last:%Y-%m-%d}, and due by so much later: set the clocks right; peca gallery erase --after "
        "takes what is dated wrongly"
    )


def _camera_table(cameras: Sequence[CameraSummary], title: str) -> Table:
    table = Table("camera", "light", "images", "first (UTC)", "last (UTC)", title=Text(title))
    for one in cameras:
        moments = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (one.first_captured_at, one.last_captured_at))
        table.add_row(Text(one.camera_id), str(one.modality), f"{one.count:,}", *moments)
    return table


def size_text(size_bytes: int) -> str:
    """A size on the disk, for people."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes:,} bytes"


def search_json(result: SearchResult) -> dict[str, Any]:
    """The answer of a search."""
    return asdict(result)


def print_parity(bundle: Bundle) -> None:
    """Print what a bundle holds and how near each form comes to the trained network."""
    table = Table("form", "size", "against", "min cosine", "mean cosine", "mAP %")
    parity = bundle.manifest.parity
    for precision in Precision:
        if precision not in parity:
            continue
        figures, file = parity[precision], bundle.manifest.files.get(precision)
        size = f"{file.size_bytes / 1e6:.1f} MB" if file else "not kept"
        cosines = (f"{figures['min_cosine']:.4f}", f"{figures['mean_cosine']:.4f}")
        table.add_row(precision, size, figures["against"], *cosines, f"{100 * figures['mean_ap']:.1f}")
    console().print(table)
    console().print(f"{bundle.fingerprint} in {bundle.path}, measured on {parity['images']} images")


def _reasons(report: IngestReport, status: IngestStatus) -> list[dict[str, str]]:
    return [{"filename": one.filename, "reason": one.reason} for one in report.items if one.status is status]


def _percent(scores: Scores) -> list[str]:
    return [f"{100 * getattr(scores, name):.2f}" for name in _SCORES]


def _leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [
        leaf for key, one in value.items() for leaf in _leaves(one, f"{name}.{key}" if name else str(key))
    ]


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
