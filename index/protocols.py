"""Who is query and who is gallery: the published test protocols as data, and their gallery draws.

Sources: SYSU-MM01's evaluation code (Wu et al., ICCV 2017) for the ``official`` draws and the
camera rule; the AGW survey's Python code (Ye et al.) for the ``seeded`` draws and RegDB; LLCM's
(Zhang and Wang, CVPR 2023) for dropping the query's own identity and camera.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.space import Modality

_CAMERA = re.compile(r"(?:cam)?(\d+)", re.IGNORECASE)


def camera_number(camera: int | str) -> int:
    """The number of a camera given as ``3``, ``"3"`` or ``"cam3"``.

    Raises:
        InvalidInput: No number can be read from it.
    """
    found = _CAMERA.fullmatch(str(camera).strip())
    if found is None:
        raise InvalidInput(
            f'this protocol numbers its cameras: expected 3, "3" or "cam3", got {camera!r}; '
            "use the plain protocol for cameras with other names"
        )
    return int(found.group(1))


class CmcUnit(StrEnum):
    """What one step down a ranking is when CMC is counted."""

    IMAGES = "images"
    IDENTITIES = "identities"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a ranking is scored.

    Attributes:
        name: For people.
        cmc_unit: ``IMAGES``: every image of the ranking is a rank. ``IDENTITIES``: only the first
            image of each identity is kept, so a rank is an identity.
        same_place: Pairs (query camera, gallery camera) that stand in one place; the gallery images
            of such a pair are dropped from that query's ranking.
        drops_same_identity_and_camera: Gallery images with the query's identity and camera are dropped.
    """

    name: str
    cmc_unit: CmcUnit
    same_place: frozenset[tuple[int, int]] = frozenset()
    drops_same_identity_and_camera: bool = False

    @property
    def numbers_cameras(self) -> bool:
        """Whether the rules read camera numbers; otherwise cameras are never looked at."""
        return bool(self.same_place) or self.drops_same_identity_and_camera

    def admitted(
        self,
        same_identity: NDArray[np.bool_],
        query_cameras: NDArray[np.int64],
        gallery_cameras: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which gallery images stay in each query's ranking.

        Args:
            same_identity: (Q, G) bool, the gallery image shows the query's identity.
            query_cameras: (Q,) camera numbers.
            gallery_cameras: (G,) camera numbers.

        Returns:
            (Q, G) bool.
        """
        stays = np.ones(same_identity.shape, dtype=np.bool_)
        for query_camera, gallery_camera in self.same_place:
            stays[np.ix_(query_cameras == query_camera, gallery_cameras == gallery_camera)] = False
        if self.drops_same_identity_and_camera:
            stays &= ~(same_identity & (query_cameras[:, None] == gallery_cameras[None, :]))
        return stays


SYSU = Protocol("SYSU-MM01", CmcUnit.IDENTITIES, same_place=frozenset({(3, 2)}))
REGDB = Protocol("RegDB", CmcUnit.IMAGES)
LLCM = Protocol("LLCM", CmcUnit.IDENTITIES, drops_same_identity_and_camera=True)
PLAIN = Protocol("plain", CmcUnit.IMAGES)


class Draws(StrEnum):
    """The two published families of gallery draws."""

    SEEDED = "seeded"
    OFFICIAL = "official"


@dataclass(frozen=True, slots=True)
class SearchMode:
    """One test that a protocol runs: whose images ask, and who stands in the gallery.

    Attributes:
        name: What ``peca evaluate --protocol`` takes.
        protocol: How its rankings are scored.
        query_modalities: The modalities that may ask, the default first.
        visible_cameras: The data set's visible cameras; ``None`` where cameras are not numbered.
        infrared_cameras: The same for infrared.
        gallery_cameras: The gallery is narrowed to these cameras; ``None`` keeps all.
        draws: The families of draws that make a gallery of ``shots`` images per (camera, identity),
            the default first; empty where every image stands in the gallery.
    """

    name: str
    protocol: Protocol
    query_modalities: tuple[Modality, ...] = (Modality.VISIBLE, Modality.INFRARED)
    visible_cameras: tuple[int, ...] | None = None
    infrared_cameras: tuple[int, ...] | None = None
    gallery_cameras: tuple[int, ...] | None = None
    draws: tuple[Draws, ...] = ()

    def cameras(self, modality: Modality) -> tuple[int, ...] | None:
        """The data set's cameras of one modality."""
        return self.visible_cameras if modality is Modality.VISIBLE else self.infrared_cameras


_SYSU_ALL = SearchMode(
    name="sysu-all",
    protocol=SYSU,
    query_modalities=(Modality.INFRARED,),
    visible_cameras=(1, 2, 4, 5),
    infrared_cameras=(3, 6),
    draws=(Draws.SEEDED, Draws.OFFICIAL),
)
_SYSU_INDOOR = SearchMode(
    name="sysu-indoor",
    protocol=SYSU,
    query_modalities=(Modality.INFRARED,),
    visible_cameras=(1, 2, 4, 5),
    infrared_cameras=(3, 6),
    gallery_cameras=(1, 2),
    draws=(Draws.SEEDED, Draws.OFFICIAL),
)
_LLCM = SearchMode(
    name="llcm",
    protocol=LLCM,
    query_modalities=(Modality.INFRARED, Modality.VISIBLE),
    visible_cameras=tuple(range(1, 10)),
    infrared_cameras=tuple(range(1, 10)),
    draws=(Draws.SEEDED,),
)

MODES = MappingProxyType(
    {
        mode.name: mode
        for mode in (_SYSU_ALL, _SYSU_INDOOR, SearchMode("regdb", REGDB), _LLCM, SearchMode("plain", PLAIN))
    }
)


def mode_named(name: str) -> SearchMode:
    """The test mode that ``peca evaluate --protocol`` calls ``name``.

    Raises:
        InvalidInput: There is no such mode.
    """
    try:
        return MODES[name]
    except KeyError:
        raise InvalidInput(f"protocol must be one of {', '.join(MODES)}; got {name!r}") from None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelled image that a protocol may choose.

    Attributes:
        person_id: The identity.
        camera_id: The camera, as the gallery or the tree names it.
        modality: The light of the camera.
        path: What the images of one camera and identity are sorted by before a draw.
    """

    person_id: str
    camera_id: str
    modality: Modality
    path: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Positions in the list of candidates that one trial was selected from.

    Attributes:
        queries: The images that ask, in the order of the list.
        gallery: The images that are ranked; drawn galleries stand in the order of their draw, so
            by identity, then camera (``seeded``) or by camera, then identity (``official``).
    """

    queries: tuple[int, ...]
    gallery: tuple[int, ...]


class Permutations:
    """SYSU-MM01's official draws: ``rand_perm_cam.mat``.

    The file holds, for each of 6 cameras and each identity, a (10, images) table. Row t, from 0, is
    trial t's permutation of the images of that camera and identity sorted by path, which it counts
    from 1. A gallery takes the first ``shots`` of the row.

    Args:
        path: The ``.mat`` file (MATLAB 5 format).

    Raises:
        InvalidInput: The file is missing or is not ``rand_perm_cam.mat``.
    """

    def __init__(self, path: Path) -> None:
        from scipy.io import loadmat

        self.path = path
        if not path.is_file():
            raise InvalidInput(f"the official draws are read from rand_perm_cam.mat; there is no file {path}")
        try:
            cells = loadmat(path)["rand_perm_cam"]
            self._tables = [[_permutation_table(cell) for cell in camera.ravel()] for camera in cells.ravel()]
        except Exception as error:  # scipy's parser raises whatever a damaged file makes it trip over
            raise InvalidInput(
                f"{path} is not rand_perm_cam.mat in MATLAB 5 format ({type(error).__name__}: {error})"
            ) from error

    def count(self, camera: int, identity: int) -> int:
        """How many images the data set has of ``identity`` (from 1) by ``camera`` (from 1)."""
        return int(self._tables[camera - 1][identity - 1].shape[1]) if self._holds(camera, identity) else 0

    def row(self, camera: int, identity: int, trial: int) -> list[int]:
        """Trial ``trial`` (from 0): positions, from 0, among that camera's and identity's sorted images.

        Raises:
            InvalidInput: The file has no such trial.
        """
        if not self._holds(camera, identity):
            return []
        table = self._tables[camera - 1][identity - 1]
        if trial >= table.shape[0]:
            raise InvalidInput(f"{self.path} holds {table.shape[0]} trials; trial {trial + 1} was asked for")
        return [number - 1 for number in table[trial].tolist()]

    def _holds(self, camera: int, identity: int) -> bool:
        return 1 <= camera <= len(self._tables) and 1 <= identity <= len(self._tables[camera - 1])


def _permutation_table(cell: NDArray[Any]) -> NDArray[np.int64]:
    """(trials, images), each row known to be a permutation of 1 to images."""
    if cell.ndim != 2 or (cell.size and cell.dtype.kind not in "iuf"):
        raise ValueError(f"expected a table of numbers, got dtype {cell.dtype} and shape {cell.shape}")
    if (np.sort(cell, axis=1) != np.arange(1, cell.shape[1] + 1)).any():
        raise ValueError("a row is not a permutation of 1 to the number of images")
    return cell.astype(np.int64)


def select(
    candidates: Sequence[Candidate],
    mode: SearchMode,
    query_modality: Modality,
    *,
    shots: int = 1,
    trial: int = 0,
    permutations: Permutations | None = None,
) -> Selection:
    """The queries and the gallery of one trial.

    Args:
        candidates: Labelled images, in any order.
        mode: The test mode.
        query_modality: Whose images ask; the gallery is of the other modality.
        shots: Images drawn per (camera, identity), or all there are where there are fewer.
        trial: From 0.
        permutations: The official draws; ``None`` draws by ``random.Random(trial)``, which gives
            what ``random.seed(trial)`` gives: ``choice`` for one shot, ``sample`` for more, over
            identities in order, then cameras in order.

    Raises:
        InvalidInput: The mode does not take ``query_modality``, ``shots`` or official draws, a
            camera is not one of its data set's, or the candidates disagree with the official file.
    """
    check_choice(mode, query_modality, shots, None if permutations is None else Draws.OFFICIAL)
    queries = tuple(_of_modality(candidates, mode, query_modality))
    pool = _of_modality(candidates, mode, query_modality.other)
    if mode.gallery_cameras is not None:
        pool = [i for i in pool if camera_number(candidates[i].camera_id) in mode.gallery_cameras]
    if not mode.draws:
        return Selection(queries, tuple(pool))
    groups = _by_person_and_camera(candidates, pool)
    if permutations is None:
        return Selection(queries, tuple(_seeded(groups, shots, random.Random(trial))))
    cameras = mode.gallery_cameras or mode.cameras(query_modality.other) or ()
    people = sorted({candidate.person_id for candidate in candidates}, key=person_order)
    return Selection(queries, tuple(_official(groups, people, cameras, shots, trial, permutations)))


def check_choice(mode: SearchMode, query_modality: Modality, shots: int, draws: Draws | None) -> None:
    """Refuse what ``mode`` does not define.

    Raises:
        InvalidInput: The mode does not take this query modality, number of shots or family of draws.
    """
    if query_modality not in mode.query_modalities:
        raise InvalidInput(
            f"{mode.name} is asked by {' or '.join(mode.query_modalities)} images, not {query_modality}; "
            "use plain for a test that the data set does not define"
        )
    if shots < 1:
        raise InvalidInput(f"shots must be at least 1, got {shots}")
    if draws is not None and mode.draws and draws not in mode.draws:
        raise InvalidInput(f"{mode.name} has {' or '.join(mode.draws)} draws, not {draws}")
    if not mode.draws and (shots != 1 or draws is Draws.OFFICIAL):
        raise InvalidInput(
            f"{mode.name} draws nothing, every image stands in its gallery: leave shots and draws out"
        )


def _of_modality(candidates: Sequence[Candidate], mode: SearchMode, modality: Modality) -> list[int]:
    """Positions of the candidates of one modality, once their cameras are known to be the data set's."""
    chosen = [i for i, candidate in enumerate(candidates) if candidate.modality is modality]
    known = mode.cameras(modality)
    if known is not None:
        for camera_id in sorted({candidates[i].camera_id for i in chosen}):
            if camera_number(camera_id) not in known:
                raise InvalidInput(
                    f"{mode.protocol.name} has {modality} cameras {', '.join(map(str, known))}; got "
                    f"{camera_id!r}; use plain for other sites"
                )
    return chosen


def person_order(person_id: str) -> tuple[int, int, str]:
    """Sort key of an identity: by number where it is one, names after the numbers."""
    return (0, int(person_id), person_id) if person_id.isdecimal() else (1, 0, person_id)


_Groups = dict[tuple[str, int], list[int]]


def _by_person_and_camera(candidates: Sequence[Candidate], pool: Iterable[int]) -> _Groups:
    """Positions by (person, camera number), in the order of persons, then cameras; each sorted by path."""
    groups: _Groups = defaultdict(list)
    for i in pool:
        groups[candidates[i].person_id, camera_number(candidates[i].camera_id)].append(i)
    order = sorted(groups, key=lambda key: (person_order(key[0]), key[1]))
    return {key: sorted(groups[key], key=lambda i: candidates[i].path) for key in order}


def _seeded(groups: _Groups, shots: int, rng: random.Random) -> list[int]:
    drawn: list[int] = []
    for images in groups.values():
        drawn += [rng.choice(images)] if shots == 1 else rng.sample(images, min(shots, len(images)))
    return drawn


def _official(
    groups: _Groups,
    people: Sequence[str],
    cameras: Sequence[int],
    shots: int,
    trial: int,
    permutations: Permutations,
) -> list[int]:
    drawn: list[int] = []
    for camera in cameras:
        for person in people:
            images = groups.get((person, camera), [])
            drawn += [
                images[k] for k in _official_row(person, camera, len(images), trial, permutations)[:shots]
            ]
    return drawn


def _official_row(person: str, camera: int, images: int, trial: int, permutations: Permutations) -> list[int]:
    """One row of the official file, once it is known to speak of these images."""
    if not person.isdecimal():
        raise InvalidInput(f"the official draws number their identities (0006 is 6); got {person!r}")
    expected = permutations.count(camera, int(person))
    if images != expected:
        raise InvalidInput(
            f"the official draws are for {expected} images of identity {person} by camera {camera}, "
            f"the gallery holds {images}; ingest the whole SYSU-MM01 test set, or use seeded draws"
        )
    return permutations.row(camera, int(person), trial)
