"""What the paper reports for PECA, for reference beside one's own figures."""

from dataclasses import asdict, dataclass
from typing import Any

from index.errors import InvalidInput
from index.evaluation import EvaluationReport
from index.space import Modality


@dataclass(frozen=True, slots=True)
class PaperScores:
    """A row "PECA" of the paper's tables, rates in [0, 1], and the test that it was measured on.

    Attributes:
        data_set: The data set.
        table: The number of the table.
        rank1: CMC at rank 1; ``rank10`` and ``rank20`` likewise.
        rank10: CMC at rank 10.
        rank20: CMC at rank 20.
        mean_ap: Mean average precision.
        queries: Query images of that test.
        gallery: Its gallery images.
    """

    data_set: str
    table: int
    rank1: float
    rank10: float
    rank20: float
    mean_ap: float
    queries: int
    gallery: int

    def has_sizes_of(self, report: EvaluationReport) -> bool:
        """Whether every trial of ``report`` was as large as the published test."""
        sizes = {(trial.queries, trial.gallery) for trial in report.trials}
        return sizes == {(self.queries, self.gallery)}

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)


_SYSU, _REGDB = "SYSU-MM01", "RegDB"
_SCORES = {
    ("sysu-all", Modality.INFRARED): PaperScores(_SYSU, 1, 0.7489, 0.9657, 0.9903, 0.7228, 3803, 301),
    ("sysu-indoor", Modality.INFRARED): PaperScores(_SYSU, 1, 0.7996, 0.9890, 0.9978, 0.8396, 3803, 112),
    ("regdb", Modality.VISIBLE): PaperScores(_REGDB, 2, 0.9497, 0.9923, 0.9956, 0.8907, 2060, 2060),
    ("regdb", Modality.INFRARED): PaperScores(_REGDB, 2, 0.9306, 0.9897, 0.9951, 0.9022, 2060, 2060),
}


def paper_scores(report: EvaluationReport) -> PaperScores:
    """The paper's row for the test of ``report``; its SYSU-MM01 figures are read as single-shot.

    Raises:
        InvalidInput: The paper has none.
    """
    found = _SCORES.get((report.protocol, report.query_modality))
    if found is None or report.shots not in (None, 1):
        tests = ", ".join(dict.fromkeys(protocol for protocol, _ in _SCORES))
        shots = "" if report.shots is None else f" with {report.shots} shots"
        raise InvalidInput(
            f"the paper reports {tests} (with 1 shot where the gallery is drawn); "
            f"it has no figures for {report.protocol}{shots}: leave --beside-paper out"
        )
    return found
