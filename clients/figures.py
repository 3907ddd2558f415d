"""The figures of an evaluation and of an encoder: CMC curve, distances, Grad-CAM."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clients.plots import COLOURS, MUTED, figure, line_with_spread
from index.distances import Distances, Distribution, Pairing, bin_edges
from index.evaluation import CMC_RANKS, EvaluationReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from training.explain.cam import ExplainedPerson, Explanation

_HEAT, _HEAT_SHARE = "inferno", 0.75
_CELL_WIDTH_IN = 0.95
_CAM_COLUMNS = 2


def draw_cmc(report: EvaluationReport, path: Path) -> None:
    """Draw the CMC curve in percent, the mean over the trials with a band of one spread to each side."""
    percent = [100 * rate for rate in report.cmc]
    spread = [100 * rate for rate in report.cmc_spread]
    trials = len(report.trials)
    with figure(path) as (panel,):
        label = f"R1 {_percent(report, 'rank1')}, mAP {_percent(report, 'mean_ap')}"
        line_with_spread(panel, range(1, CMC_RANKS + 1), percent, spread, label, markers=False)
        panel.set(xlim=(1, CMC_RANKS), xticks=(1, 10, 20, 30, 40, 50), ylim=(_floor(percent[0]), 101))
        panel.set(xlabel="rank", ylabel="queries with a match by then (%)")
        counted = f", {trials} trials" if trials > 1 else ""
        panel.set_title(f"{report.protocol}, {report.query_modality} to {report.gallery_modality}{counted}")
        panel.legend(loc="lower right")


def _percent(report: EvaluationReport, score: str) -> str:
    mean, spread = (100 * getattr(one, score) for one in (report.mean, report.spread))
    return f"{mean:.1f} %" if len(report.trials) == 1 else f"{mean:.1f} ± {spread:.1f} %"


def _floor(percent: float) -> float:
    """A tenth below, so that a curve that starts high is not pressed to the top edge."""
    return max(0.0, 10 * (percent // 10) - 10)


def draw_distances(distances: Distances, path: Path) -> None:
    """Draw two panels: one person and different people across modalities; one person across and within."""
    same, different = distances.same, distances.different
    across = {"one person": same[Pairing.ACROSS], "different people": different[Pairing.ACROSS]}
    by_pairing = {pairing.words: same[pairing] for pairing in Pairing}
    # One scale for both, so that the panels can be read against each other.
    merged = max(map(_bins_to_merge, (*across.values(), *by_pairing.values())))
    with figure(path, columns=2) as (people, modalities):
        _draw_histograms(people, across, (0, 1), merged)
        _draw_histograms(modalities, by_pairing, (0, 2, 4), merged)
        _name_gap(people, "Visible to infrared", "separation", distances.separation(Pairing.ACROSS))
        _name_gap(modalities, "One person", "modality gap", distances.modality_gap)
        furthest = max(people.get_xlim()[1], modalities.get_xlim()[1])
        highest = max(people.get_ylim()[1], modalities.get_ylim()[1])
        for panel in (people, modalities):
            # Room above for the legend, which would else hide a peak.
            panel.set(xlim=(0, furthest), ylim=(0, 1.4 * highest))


def _draw_histograms(
    panel: "Axes", distributions: dict[str, Distribution], colours: Sequence[int], merged: int
) -> None:
    """The share of each distribution's pairs by distance, and the mean as a dashed line.

    ``merged`` bins make one of the drawing.
    """
    edges = bin_edges()[::merged]
    for (label, one), colour in zip(
        distributions.items(), (COLOURS[number] for number in colours), strict=True
    ):
        if one.mean is None:
            continue
        share = 100 * np.array(one.histogram).reshape(-1, merged).sum(axis=1) / one.pairs
        filled = np.flatnonzero(share)
        shown = slice(filled[0], filled[-1] + 1)
        outline = (share[shown], edges[shown.start : shown.stop + 1])
        panel.stairs(*outline, color=colour, fill=True, alpha=0.22)
        panel.stairs(*outline, color=colour, linewidth=1.4, label=f"{label}, mean {one.mean:.2f}")
        panel.vlines(one.mean, 0, share.max(), color=colour, linewidth=1.4, linestyle="--")
    panel.set(xlabel="cosine distance", ylabel=f"pairs (% per {edges[1]:.2g})")
    panel.legend(loc="upper left")


def _bins_to_merge(distribution: Distribution) -> int:
    """How many bins make one of the drawing, by Scott's rule (1979), so that few pairs stay legible."""
    if distribution.std is None:
        return 1
    width = 3.49 * distribution.std * distribution.pairs ** (-1 / 3)
    return max(count for count in (1, 2, 4, 5, 10) if count == 1 or count * bin_edges()[1] <= width)


def _name_gap(panel: "Axes", title: str, name: str, gap: float | None) -> None:
    panel.set_title(title if gap is None else f"{title}: {name} {gap:.2f}")


def draw_cam(people: Sequence["ExplainedPerson"], path: Path, caption: str) -> None:
    """Draw for each person visible image and heat, infrared image and heat; two people beside one another.

    Args:
        people: At least one.
        path: As ``clients.plots.figure`` takes it.
        caption: What stands below, wrapped to the width.
    """
    height, width = people[0].visible.image.shape[:2]
    columns = min(len(people), _CAM_COLUMNS)
    rows = -(-len(people) // columns)
    lines = textwrap.wrap(caption, 58 * columns)
    row_in = _CELL_WIDTH_IN * height / width + 0.25
    size_in = (columns * (4 * _CELL_WIDTH_IN + 0.55), rows * row_in + 0.17 * len(lines) + 0.45)
    with figure(path, rows=rows, columns=4 * columns, size_in=size_in) as panels:
        blocks = [panels[4 * block : 4 * block + 4] for block in range(rows * columns)]
        for block, person in zip(blocks, people, strict=False):
            _draw_person(block, person)
        for block in blocks[:columns]:
            _head(block, people[0])
        for block in blocks[len(people) :]:
            for panel in block:
                panel.set_axis_off()
        panels[0].figure.supxlabel(
            "\n".join(lines), fontsize=8, color=MUTED, x=0.01, horizontalalignment="left"
        )


def _draw_person(block: Sequence["Axes"], person: "ExplainedPerson") -> None:
    _draw_explanation(block[:2], person.visible)
    _draw_explanation(block[2:], person.infrared)
    block[0].set_ylabel(person.person_id, fontsize=9)


def _head(block: Sequence["Axes"], person: "ExplainedPerson") -> None:
    for panels, explanation in ((block[:2], person.visible), (block[2:], person.infrared)):
        panels[0].set_title(str(explanation.sample.modality), loc="center", fontsize=9)
        panels[1].set_title(
            f"match with\n{explanation.against}", loc="center", fontsize=9, fontweight="normal"
        )


def _draw_explanation(cells: Sequence["Axes"], explanation: "Explanation") -> None:
    """The image, and beside it the image in grey under its heat, with the cosine similarity below."""
    from matplotlib import colormaps

    grey = explanation.image.mean(axis=2, keepdims=True) / 255
    heat = explanation.heat[..., None]
    colour = colormaps[_HEAT](explanation.heat)[..., :3]
    # Where there is no heat the image shows through; the hottest place is nearly all colour.
    share = _HEAT_SHARE * heat**0.5
    for cell, picture in zip(cells, (explanation.image, (1 - share) * grey + share * colour), strict=True):
        cell.imshow(picture, interpolation="nearest")
        cell.set(xticks=(), yticks=())
        cell.spines[:].set_visible(False)
    cells[1].set_xlabel(f"cosine {explanation.cosine:.2f}", fontsize=8, labelpad=2)
