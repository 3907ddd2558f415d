"""What `peca evaluate` reads and leaves behind: galleries, reports, tables and plots."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clients.paper import PaperScores
from index.distances import Distances
from index.errors import GalleryUnavailable, InvalidInput
from index.evaluation import EvaluationReport, combine_reports
from index.gallery import Device, Gallery, open_gallery, stored_spec
from index.through_index import DEPTH


@contextmanager
def stored_gallery(url: str, device: Device = Device.CPU) -> Iterator[Gallery]:
    """The gallery at ``url``, read-only, searched by ``device``, closed when the block ends.

    Raises:
        GalleryUnavailable: There is none, or it cannot be read.
        InvalidInput: ``url`` names no engine.
    """
    spec = stored_spec(url)
    if spec is None:
        raise GalleryUnavailable(
            f"there is no gallery at {url} yet; fill one with `peca serve` and `peca ingest`"
        )
    with closing(open_gallery(url, spec, read_only=True, device=device)) as gallery:
        yield gallery


def read_reports(paths: Sequence[Path]) -> EvaluationReport:
    """The reports in JSON files of ``peca evaluate --out``, as one.

    Raises:
        InvalidInput: A file is no such report, or they are not of one test.
    """
    return combine_reports([_read_report(path) for path in paths])


def _read_report(path: Path) -> EvaluationReport:
    try:
        return EvaluationReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:  # InvalidInput and the faults of JSON and UTF-8 are ValueErrors
        raise InvalidInput(f"{path} is not JSON of `peca evaluate --out`: {error}") from None


def report_json(
    report: EvaluationReport, paper: PaperScores | None, indexed: EvaluationReport | None = None
) -> dict[str, Any]:
    """The report, and with it the paper's row and the same test through the index if wanted."""
    content = {**report.to_dict(), **({} if paper is None else {"paper": paper.to_dict()})}
    if indexed is not None:
        found, exact = asdict(indexed.mean), asdict(report.mean)
        cost = {name: exact[name] - found[name] for name in found if name != "chance_rank1"}
        content["through_index"] = {**found, "depth": DEPTH, "cost": cost}
    return content


def index_cost(report: EvaluationReport, indexed: EvaluationReport) -> str:
    """What a compressed search costs, in a line for people."""
    found, exact = indexed.mean, report.mean
    return (
        f"through the index, {DEPTH} hits a query: mAP {found.mean_ap:.4f} of {exact.mean_ap:.4f}, "
        f"rank-1 {found.rank1:.4f} of {exact.rank1:.4f}, mINP {found.mean_inp:.4f} of {exact.mean_inp:.4f}"
    )


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write JSON, indented for people; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(report: EvaluationReport, path: Path) -> None:
    """Write a row for each trial, then their mean and spread; rates in [0, 1]."""
    test = [report.protocol, str(report.query_modality), str(report.gallery_modality)]
    names = list(asdict(report.mean))
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["protocol", "query_modality", "gallery_modality", "trial", "queries", "gallery", *names]
        )
        for trial in report.trials:
            sizes = [trial.trial, trial.queries, trial.gallery]
            rows.writerow([*test, *sizes, *asdict(trial.scores).values()])
        for name, scores in (("mean", report.mean), ("spread", report.spread)):
            rows.writerow([*test, name, "", "", *asdict(scores).values()])


def draw_evaluation(
    report: EvaluationReport, distances: Distances | None, folder: Path, plot_format: str
) -> list[Path]:
    """Draw the CMC curve and, where they are known, the distances; returns the files."""
    from clients.figures import draw_cmc, draw_distances

    files = [folder / f"cmc.{plot_format}"]
    draw_cmc(report, files[0])
    if distances is not None:
        files.append(folder / f"distances.{plot_format}")
        draw_distances(distances, files[1])
    return files
