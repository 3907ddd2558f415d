"""How well the vectors that a gallery holds find people across modalities, by a published protocol."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.gallery import Gallery
from index.metrics import Rankings
from index.protocols import (
    Candidate,
    Draws,
    Permutations,
    SearchMode,
    Selection,
    check_choice,
    mode_named,
    select,
)
from index.records import ANY, ImageRecord, Where
from index.rerank import CANDIDATES, k_reciprocal_order
from index.scoring import best
from index.space import Modality
from index.wording import counted

CMC_RANKS = 50
"""How far a report keeps the CMC curve."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The numbers that papers report, each in [0, 1].

    Attributes:
        rank1: CMC at rank 1; ``rank5``, ``rank10`` and ``rank20`` likewise.
        rank5: CMC at rank 5.
        rank10: CMC at rank 10.
        rank20: CMC at rank 20.
        mean_ap: Mean average precision.
        mean_inp: Mean inverse negative penalty.
        chance_rank1: The rank-1 rate to expect of a random ranking of the same galleries.
    """

    rank1: float
    rank5: float
    rank10: float
    rank20: float
    mean_ap: float
    mean_inp: float
    chance_rank1: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One draw of the gallery.

    Attributes:
        trial: Its number, from 0.
        queries: Images that asked.
        valid_queries: Those of them with a match in their gallery; only they count.
        gallery: Images that stood in the gallery.
        scores: The result.
        cmc: The CMC curve: ``cmc[k - 1]`` in [0, 1] is that of rank k, up to ``CMC_RANKS``; past the
            end of a smaller gallery it stays where it is.
    """

    trial: int
    queries: int
    valid_queries: int
    gallery: int
    scores: Scores
    cmc: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What ``evaluate_gallery`` found; means and spreads are taken over its trials, each counting the same.

    Attributes:
        protocol: The test mode's name, e.g. ``sysu-all``.
        query_modality: Whose images asked.
        gallery_modality: Whose images were ranked.
        encoder: The fingerprint of the encoder that made the vectors.
        shots: Images per (camera, identity) in the gallery; ``None`` where nothing is drawn.
        draws: The family of draws; ``None`` where nothing is drawn.
        unlabelled: Images of the gallery that took no part, having no ``person_id``.
        trials: Each trial, at least one.
        reranked: The first of each ranking were ordered by their k-reciprocal neighbours.
    """

    protocol: str
    query_modality: Modality
    gallery_modality: Modality
    encoder: str
    shots: int | None
    draws: Draws | None
    unlabelled: int
    trials: tuple[Trial, ...]
    reranked: bool = False

    @property
    def mean(self) -> Scores:
        """Means over the trials."""
        return Scores(*self._table().mean(axis=0).tolist())

    @property
    def spread(self) -> Scores:
        """Population standard deviations over the trials; 0 for a single one."""
        return Scores(*self._table().std(axis=0).tolist())

    @property
    def cmc(self) -> list[float]:
        """The mean CMC curve, ranks 1 to ``CMC_RANKS``."""
        curve: list[float] = np.array([trial.cmc for trial in self.trials]).mean(axis=0).tolist()
        return curve

    @property
    def cmc_spread(self) -> list[float]:
        """The population standard deviation of each rank of the CMC curve."""
        curve: list[float] = np.array([trial.cmc for trial in self.trials]).std(axis=0).tolist()
        return curve

    def _table(self) -> NDArray[np.float64]:
        """(trials, scores)."""
        return np.array([astuple(trial.scores) for trial in self.trials])

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON's types; the means and the first trial's sizes stand at the top level."""
        first = self.trials[0]
        return {
            "protocol": self.protocol,
            "query_modality": str(self.query_modality),
            "gallery_modality": str(self.gallery_modality),
            "encoder": self.encoder,
            "shots": self.shots,
            "draws": None if self.draws is None else str(self.draws),
            "unlabelled": self.unlabelled,
            "reranked": self.reranked,
            "queries": first.queries,
            "valid_queries": first.valid_queries,
            "gallery": first.gallery,
            **asdict(self.mean),
            "spread": asdict(self.spread),
            "cmc": self.cmc,
            "cmc_spread": self.cmc_spread,
            "trials": [_flat(trial) for trial in self.trials],
        }

    @classmethod
    def from_dict(cls, content: Any) -> "EvaluationReport":
        """The report that ``to_dict`` gave.

        Raises:
            InvalidInput: ``content`` is not such a report.
        """
        try:
            if not content["trials"]:
                raise ValueError("expected at least one trial, got none")
            return cls(
                protocol=mode_named(content["protocol"]).name,
                query_modality=Modality(content["query_modality"]),
                gallery_modality=Modality(content["gallery_modality"]),
                encoder=str(content["encoder"]),
                shots=None if content["shots"] is None else int(content["shots"]),
                draws=None if content["draws"] is None else Draws(content["draws"]),
                unlabelled=int(content["unlabelled"]),
                trials=tuple(_trial(one) for one in content["trials"]),
                reranked=bool(content.get("reranked", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a report of `peca evaluate` ({type(error).__name__}: {error})") from None


def evaluate_gallery(
    gallery: Gallery,
    protocol: str,
    query_modality: Modality | None = None,
    *,
    shots: int = 1,
    trials: int = 10,
    draws: Draws = Draws.SEEDED,
    rand_perm: Path | None = None,
    rerank: bool = False,
) -> EvaluationReport:
    """Search the labelled images of one modality by those of the other, as a protocol says, and score it.

    The ranking is exact (cosine over all vectors), so it measures the encoder and not the index.
    Before a draw, the images of a camera and identity are sorted by ``source``, or by ``image_id``
    where a record has none.

    Args:
        gallery: Holds both modalities, labelled with ``person_id``.
        protocol: A name in ``index.protocols.MODES``.
        query_modality: Whose images ask; ``None`` takes the protocol's default.
        shots: Images drawn per (camera, identity).
        trials: Draws to average over; a protocol that draws nothing has one trial, whatever this says.
        draws: The family of draws.
        rand_perm: ``rand_perm_cam.mat``, needed for official draws and for nothing else.
        rerank: Order the first of each ranking by their k-reciprocal neighbours.

    Raises:
        InvalidInput: The protocol does not define what is asked, the gallery lacks labelled images
            of a modality or cameras that the protocol can read, or no query has a match.
    """
    people = labelled_people(gallery)
    if rerank:
        people = RerankedPeople(people.candidates, people.vectors, people.unlabelled, people.image_ids)
    return evaluate_people(
        people,
        gallery.spec.encoder,
        protocol,
        query_modality,
        shots=shots,
        trials=trials,
        draws=draws,
        rand_perm=rand_perm,
    )


def evaluate_people(
    people: "People",
    encoder: str,
    protocol: str,
    query_modality: Modality | None = None,
    *,
    shots: int = 1,
    trials: int = 10,
    draws: Draws = Draws.SEEDED,
    rand_perm: Path | None = None,
) -> EvaluationReport:
    """Score labelled images that were read already; else as ``evaluate_gallery``.

    Args:
        people: The images.
        encoder: The fingerprint of the encoder that made their vectors.
        protocol: As the rest, see ``evaluate_gallery``.
        query_modality: See there.
        shots: See there.
        trials: See there.
        draws: See there.
        rand_perm: See there.

    Raises:
        InvalidInput: See there.
    """
    mode = mode_named(protocol)
    asking = mode.query_modalities[0] if query_modality is None else _member(Modality, query_modality)
    family = _member(Draws, draws)
    check_choice(mode, asking, shots, family)
    if trials < 1:
        raise InvalidInput(f"trials must be at least 1, got {trials}")
    permutations = _permutations(family, rand_perm)
    results = []
    for number in range(trials if mode.draws else 1):
        chosen = select(people.candidates, mode, asking, shots=shots, trial=number, permutations=permutations)
        results.append(_score(people, chosen, mode, number))
    return EvaluationReport(
        protocol=mode.name,
        query_modality=asking,
        gallery_modality=asking.other,
        encoder=encoder,
        shots=shots if mode.draws else None,
        draws=family if mode.draws else None,
        unlabelled=people.unlabelled,
        trials=tuple(results),
        reranked=isinstance(people, RerankedPeople),
    )


def combine_reports(reports: Sequence[EvaluationReport]) -> EvaluationReport:
    """One report of the trials of several, each trial counting the same.

    This is how RegDB's protocol reports its ten splits, each with a model of its own.

    Args:
        reports: At least one.

    Raises:
        InvalidInput: There is none, one was given twice, or they are not of one test: protocol, direction,
            shots and draws.
    """
    if not reports:
        raise InvalidInput("there is no report to combine")
    first = reports[0]
    for report in reports[1:]:
        if _test(report) != _test(first):
            raise InvalidInput(
                f"only reports of one test have a mean; got {_in_words(first)}, and {_in_words(report)}"
            )
        if reports.count(report) > 1:
            raise InvalidInput("one report was given twice; a mean counts each once")
    trials = [trial for report in reports for trial in report.trials]
    return replace(
        first,
        encoder=", ".join(dict.fromkeys(report.encoder for report in reports)),
        unlabelled=sum(report.unlabelled for report in reports),
        trials=tuple(replace(trial, trial=number) for number, trial in enumerate(trials)),
    )


def _test(report: EvaluationReport) -> tuple[str, str, int | None, str | None, bool]:
    draws = None if report.draws is None else str(report.draws)
    return report.protocol, str(report.query_modality), report.shots, draws, report.reranked


def _in_words(report: EvaluationReport) -> str:
    protocol, asking, shots, draws, reranked = _test(report)
    drawn = "" if shots is None else f" with {shots} shot{'s' if shots > 1 else ''}, {draws} draws"
    return f"{protocol} asked by {asking} images{drawn}{', re-ranked' if reranked else ''}"


_Closed = TypeVar("_Closed", bound=StrEnum)


def _member(kind: type[_Closed], value: str) -> _Closed:
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(
            f"{kind.__name__.lower()} must be one of {', '.join(kind)}; got {value!r}"
        ) from None


def _permutations(draws: Draws, rand_perm: Path | None) -> Permutations | None:
    if draws is Draws.SEEDED:
        return None
    if rand_perm is None:
        raise InvalidInput(
            "official draws are read from SYSU-MM01's rand_perm_cam.mat: give its path (--rand-perm)"
        )
    return Permutations(rand_perm)


@dataclass(frozen=True, slots=True)
class People:
    """The N labelled images of a gallery, in the order of adding.

    Attributes:
        candidates: What a protocol needs of each image.
        vectors: (N, D) float32 unit rows.
        unlabelled: Images of the gallery that are not among them, having no ``person_id``.
        image_ids: Theirs.
    """

    candidates: list[Candidate]
    vectors: NDArray[np.float32]
    unlabelled: int
    image_ids: list[str]

    def similarity(self, queries: NDArray[np.int64], ranked: NDArray[np.int64]) -> NDArray[np.float32]:
        """What ranks (G,) images for each of (n,) others, (n, G): their cosines."""
        return self.vectors[queries] @ self.vectors[ranked].T


class RerankedPeople(People):
    """The same, the first of each ranking ordered as a search does that asks for it."""

    def similarity(self, queries: NDArray[np.int64], ranked: NDArray[np.int64]) -> NDArray[np.float32]:
        """As of ``People``; those ordered anew stand above every cosine."""
        scores = super().similarity(queries, ranked)
        for query, row in zip(queries, scores, strict=True):
            head = best(row, CANDIDATES)
            order = k_reciprocal_order(self.vectors[query], self.vectors[ranked[head]])
            row[head[order]] = np.linspace(3, 2, len(head), dtype=np.float32)
        return scores


def labelled_people(gallery: Gallery, where: Where = ANY) -> People:
    """The labelled images of ``gallery`` that pass ``where``.

    Raises:
        InvalidInput: There is none, or none of one of the modalities.
    """
    candidates: list[Candidate] = []
    batches: list[NDArray[np.float32]] = []
    image_ids: list[str] = []
    images = 0
    for records, vectors in gallery.vectors(where):
        images += len(records)
        taken = [i for i, record in enumerate(records) if record.person_id is not None]
        batches.append(vectors[taken])
        candidates += [_candidate(records[i], str(records[i].person_id)) for i in taken]
        image_ids += [records[i].image_id for i in taken]
    _refuse_one_sided(candidates, images)
    return People(candidates, np.concatenate(batches), images - len(candidates), image_ids)


def _candidate(record: ImageRecord, person_id: str) -> Candidate:
    return Candidate(person_id, record.camera_id, record.modality, record.source or record.image_id)


def _refuse_one_sided(candidates: list[Candidate], images: int) -> None:
    if not candidates:
        raise InvalidInput(
            f"evaluation needs images labelled with person_id; none of the {images:,} in the gallery is: "
            "ingest a data set tree (--layout) or a manifest with a person_id column"
        )
    for modality in Modality:
        if all(candidate.modality is not modality for candidate in candidates):
            held = counted(len(candidates), f"labelled {modality.other} image")
            raise InvalidInput(
                f"evaluation searches across modalities; the gallery holds {held} and no {modality} one: "
                f"ingest labelled {modality} images too"
            )


def _score(people: People, chosen: Selection, mode: SearchMode, trial: int) -> Trial:
    queries, ranked = np.asarray(chosen.queries), np.asarray(chosen.gallery)
    rankings = rankings_of(people.candidates, chosen, mode)
    for rows in rankings.chunks():
        rankings.score(rows, people.similarity(queries[rows], ranked))
    metrics = rankings.metrics()
    _, chance = rankings.chance()
    return Trial(
        trial=trial,
        queries=len(queries),
        valid_queries=metrics.valid_queries,
        gallery=len(ranked),
        scores=Scores(
            rank1=metrics.rank(1),
            rank5=metrics.rank(5),
            rank10=metrics.rank(10),
            rank20=metrics.rank(20),
            mean_ap=metrics.mean_ap,
            mean_inp=metrics.mean_inp,
            chance_rank1=chance,
        ),
        cmc=tuple(metrics.rank(k) for k in range(1, CMC_RANKS + 1)),
    )


def rankings_of(candidates: Sequence[Candidate], chosen: Selection, mode: SearchMode) -> Rankings:
    """The rankings that one trial asks for, ready to score.

    Raises:
        InvalidInput: The trial has no query or no gallery image.
    """
    asked, ranked = ([candidates[i] for i in chosen.queries], [candidates[i] for i in chosen.gallery])
    return Rankings(
        [candidate.person_id for candidate in asked],
        [candidate.person_id for candidate in ranked],
        [candidate.camera_id for candidate in asked],
        [candidate.camera_id for candidate in ranked],
        mode.protocol,
    )


def _flat(trial: Trial) -> dict[str, Any]:
    """A trial as JSON's types, its scores beside its sizes."""
    return {
        "trial": trial.trial,
        "queries": trial.queries,
        "valid_queries": trial.valid_queries,
        "gallery": trial.gallery,
        **asdict(trial.scores),
        "cmc": list(trial.cmc),
    }


def _trial(content: dict[str, Any]) -> Trial:
    """The trial that ``_flat`` gave."""
    cmc = tuple(float(rate) for rate in content["cmc"])
    if len(cmc) != CMC_RANKS:
        raise ValueError(f"a CMC curve has {CMC_RANKS} ranks, got {len(cmc)}")
    sizes = {name: int(content[name]) for name in ("trial", "queries", "valid_queries", "gallery")}
    return Trial(
        **sizes, scores=Scores(**{one.name: float(content[one.name]) for one in fields(Scores)}), cmc=cmc
    )
