"""What the commands print: tables for people, JSON for programs."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from exporter.bundle import Bundle, Precision
from index.evaluation import EvaluationReport, Scores
from peca_client import IngestReport, IngestStatus, SearchResult

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
    """Standard output; a pipe has no width of its own, so it gets one that wraps nothing needed."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def print_json(value: dict[str, Any]) -> None:
    """Print ``value`` as JSON, instants in ISO 8601."""
    print(json.dumps(value, indent=2, default=_plain))


def print_hits(result: SearchResult) -> None:
    """Print the hits of a search, best first."""
    table = Table(*(Column(name, overflow="fold") for name in _HIT_COLUMNS))
    for hit in result.items:
        captured_at = f"{hit.captured_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        # Text, since rich would read [..] in a site's names as mark-up.
        names = map(Text, (hit.image_id, hit.camera_id, captured_at, hit.person_id or ""))
        table.add_row(str(hit.rank), f"{hit.score:.4f}", *names)
    console().print(table)
    console().print(
        f"{len(result.items)} found, search {result.search_id}, encoder {result.encoder}", markup=False
    )


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
            console().print(f"{status}: {one['filename']}: {one['reason']}", markup=False, soft_wrap=True)


def print_evaluation(report: EvaluationReport) -> None:
    """Print the scores of an evaluation in percent, with the sizes that they were measured on."""
    first = report.trials[0]
    drawn = (
        "" if report.draws is None else f", {report.shots} shot, {len(report.trials)} {report.draws} trials"
    )
    title = f"{report.protocol}: {report.query_modality} to {report.gallery_modality}{drawn}"
    table = Table("", *_SCORES.values(), title=title)
    table.add_row("mean %", *_percent(report.mean))
    table.add_row("spread", *_percent(report.spread))
    console().print(table)
    console().print(
        f"{first.queries:,} queries, {first.valid_queries:,} of them with a match, "
        f"{first.gallery:,} gallery images{'' if report.draws is None else ' (first trial)'}; "
        f"{report.unlabelled:,} unlabelled images took no part; encoder {report.encoder}",
        markup=False,
    )


def print_counts(counts: dict[str, Any], title: str) -> None:
    """Print a tree of counts as rows of dotted name and value."""
    table = Table("what", "count", title=Text(title))
    for name, value in _leaves(counts):
        table.add_row(name, Text(f"{value:,}" if isinstance(value, int) else str(value)))
    console().print(table)


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
    console().print(
        f"{bundle.fingerprint} in {bundle.path}, measured on {parity['images']} images", markup=False
    )


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
