"""Who is query and who is gallery, and the two published families of draws."""

import random
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from index.errors import InvalidInput
from index.protocols import MODES, Candidate, Draws, Permutations, camera_number, mode_named, select
from index.space import Modality

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED


def image(person, camera, number, modality=None):
    if modality is None:
        modality = INFRARED if camera in (3, 6) else VISIBLE
    return Candidate(person, f"cam{camera}", modality, f"cam{camera}/{person}/{number:04d}.jpg")


def site(people=("0006", "0010", "0021"), cameras=(1, 2, 3, 4, 5, 6), images=12, seed=0):
    """A small SYSU-MM01 in shuffled order."""
    candidates = [image(p, c, n) for p in people for c in cameras for n in range(1, images + 1)]
    random.Random(seed).shuffle(candidates)
    return candidates


def save_permutations(path, tables):
    """``tables[camera][identity]``: (trials, images) numbers from 1; saved as the published file is."""
    cells = np.empty((6, 1), dtype=object)
    for camera in range(6):
        inner = np.empty((30, 1), dtype=object)
        for identity in range(30):
            inner[identity, 0] = tables.get((camera + 1, identity + 1), np.empty((10, 0), dtype=np.uint8))
        cells[camera, 0] = inner
    savemat(path, {"rand_perm_cam": cells})
    return path


@pytest.mark.parametrize("camera", [3, "3", "cam3", "Cam3", "cam03", np.int64(3), np.str_("cam3")])
def test_camera_number(camera):
    assert camera_number(camera) == 3


@pytest.mark.parametrize("camera", ["door", "", "cam", "3b", -3, "visible", 3.5])
def test_camera_without_a_number_is_refused(camera):
    with pytest.raises(InvalidInput, match="numbers its cameras"):
        camera_number(camera)


def test_mode_names():
    assert list(MODES) == ["sysu-all", "sysu-indoor", "regdb", "llcm", "plain"]
    assert mode_named("sysu-indoor").gallery_cameras == (1, 2)
    with pytest.raises(InvalidInput, match="sysu-all, sysu-indoor, regdb, llcm, plain; got 'market'"):
        mode_named("market")


@pytest.mark.parametrize("shots", [1, 10])
@pytest.mark.parametrize(("name", "cameras"), [("sysu-all", (1, 2, 4, 5)), ("sysu-indoor", (1, 2))])
def test_seeded_draws_are_those_of_random_seed(name, cameras, shots):
    candidates = site()
    for trial in range(10):
        chosen = select(candidates, MODES[name], INFRARED, shots=shots, trial=trial)
        random.seed(trial)
        expected = []
        for person in ("0006", "0010", "0021"):
            for camera in cameras:
                files = sorted(
                    c.path for c in candidates if (c.person_id, c.camera_id) == (person, f"cam{camera}")
                )
                expected += [random.choice(files)] if shots == 1 else random.sample(files, shots)
        assert [candidates[i].path for i in chosen.gallery] == expected
        assert {candidates[i].camera_id for i in chosen.queries} == {"cam3", "cam6"}
        assert len(chosen.queries) == 3 * 2 * 12


def test_identities_are_sorted_by_number_however_they_are_padded():
    padded, bare = site(("0006", "0010", "0021")), site(("6", "10", "21"))
    draws = [select(site, MODES["sysu-all"], INFRARED, trial=4).gallery for site in (padded, bare)]
    assert draws[0] == draws[1]


def test_multi_shot_takes_what_there_is():
    chosen = select(site(images=4), MODES["sysu-indoor"], INFRARED, shots=10)
    assert len(chosen.gallery) == 3 * 2 * 4
    assert len(set(chosen.gallery)) == len(chosen.gallery)


@pytest.mark.parametrize("asking", [INFRARED, VISIBLE])
def test_llcm_draws_one_image_a_camera_and_identity_in_both_directions(asking):
    candidates = [
        image(p, c, n, m) for p in ("0001", "0002") for c in range(1, 10) for n in (1, 2, 3) for m in Modality
    ]
    chosen = select(candidates, MODES["llcm"], asking)
    assert len(chosen.queries) == 2 * 9 * 3
    assert {candidates[i].modality for i in chosen.queries} == {asking}
    drawn = [(candidates[i].person_id, candidates[i].camera_id) for i in chosen.gallery]
    assert drawn == [(p, f"cam{c}") for p in ("0001", "0002") for c in range(1, 10)]


@pytest.mark.parametrize("name", ["regdb", "plain"])
@pytest.mark.parametrize("asking", [INFRARED, VISIBLE])
def test_undrawn_modes_take_every_image_in_order(name, asking):
    candidates = [Candidate("a", "door", m, f"{n}") for n in range(5) for m in (VISIBLE, INFRARED)]
    chosen = select(candidates, MODES[name], asking)
    assert chosen.queries == tuple(i for i, c in enumerate(candidates) if c.modality is asking)
    assert chosen.gallery == tuple(i for i, c in enumerate(candidates) if c.modality is not asking)


def test_official_draws_follow_the_row_of_the_trial_and_count_from_1(tmp_path):
    rng = np.random.default_rng(0)
    numbers = {
        (camera, person): np.stack([rng.permutation(12) + 1 for _ in range(10)])
        for camera in range(1, 7)
        for person in (6, 10, 21)
    }
    permutations = Permutations(save_permutations(tmp_path / "rand_perm_cam.mat", numbers))
    candidates = site()
    for shots, trial in [(1, 0), (1, 9), (10, 3)]:
        chosen = select(
            candidates, MODES["sysu-all"], INFRARED, shots=shots, trial=trial, permutations=permutations
        )
        # The files are named by their place in sorted order, from 1, so the row is the file names.
        expected = [
            f"cam{camera}/{person:04d}/{number:04d}.jpg"
            for camera in (1, 2, 4, 5)
            for person in (6, 10, 21)
            for number in numbers[camera, person][trial][:shots]
        ]
        assert [candidates[i].path for i in chosen.gallery] == expected
    with pytest.raises(InvalidInput, match="holds 10 trials; trial 11"):
        select(candidates, MODES["sysu-all"], INFRARED, trial=10, permutations=permutations)


def test_official_draws_refuse_a_gallery_that_is_not_the_data_set(tmp_path):
    numbers = {(c, 6): np.tile(np.arange(1, 13), (10, 1)) for c in range(1, 7)}
    permutations = Permutations(save_permutations(tmp_path / "rand_perm_cam.mat", numbers))

    def draw(candidates, mode="sysu-indoor"):
        return select(candidates, MODES[mode], INFRARED, permutations=permutations)

    assert len(draw(site(("0006",))).gallery) == 2
    with pytest.raises(InvalidInput, match="12 images of identity 0006 by camera 1, the gallery holds 11"):
        draw([c for c in site(("0006",)) if c.path != "cam1/0006/0005.jpg"])
    with pytest.raises(InvalidInput, match="camera 2, the gallery holds 0"):
        draw([c for c in site(("0006",)) if c.camera_id != "cam2"])
    with pytest.raises(InvalidInput, match="0 images of identity 0010"):
        draw(site(("0006", "0010")))
    with pytest.raises(InvalidInput, match="number their identities"):
        draw(site(("anna",)))


@pytest.mark.parametrize(
    "content", [b"", b"not a mat file", b"MATLAB 5.0 MAT-file" + bytes(200), zlib.compress(bytes(5000))]
)
def test_a_damaged_permutation_file_is_refused(tmp_path, content):
    path = tmp_path / "rand_perm_cam.mat"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"is not rand_perm_cam\.mat"):
        Permutations(path)


def test_a_truncated_or_foreign_permutation_file_is_refused(tmp_path):
    path = save_permutations(tmp_path / "rand_perm_cam.mat", {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInput, match=r"is not rand_perm_cam\.mat"):
        Permutations(path)
    twice = np.empty((1, 1), dtype=object)
    twice[0, 0] = np.empty((1, 1), dtype=object)
    twice[0, 0][0, 0] = np.array([[1, 1, 3]])
    for table in (np.arange(6), np.array([["a"], ["b"]], dtype=object), twice):
        savemat(path, {"rand_perm_cam": table})
        with pytest.raises(InvalidInput, match=r"is not rand_perm_cam\.mat"):
            Permutations(path)
    savemat(path, {"id": np.arange(3)})
    with pytest.raises(InvalidInput, match=r"is not rand_perm_cam\.mat"):
        Permutations(path)
    with pytest.raises(InvalidInput, match="there is no"):
        Permutations(tmp_path / "absent.mat")


@pytest.mark.parametrize(
    ("name", "asking", "options", "message"),
    [
        ("sysu-all", VISIBLE, {}, "asked by infrared images, not visible"),
        ("sysu-all", INFRARED, {"shots": 0}, "shots must be at least 1"),
        ("plain", INFRARED, {"shots": 10}, "draws nothing"),
        ("regdb", INFRARED, {"shots": 2}, "draws nothing"),
    ],
)
def test_refuses_what_a_mode_does_not_define(name, asking, options, message):
    with pytest.raises(InvalidInput, match=message):
        select(site(), MODES[name], asking, **options)


@pytest.mark.parametrize("name", ["llcm", "regdb", "plain"])
def test_official_draws_are_for_sysu_only(tmp_path, name):
    permutations = Permutations(save_permutations(tmp_path / "rand_perm_cam.mat", {}))
    with pytest.raises(InvalidInput, match="draws"):
        select(site(), MODES[name], INFRARED, permutations=permutations)


def test_cameras_that_the_data_set_does_not_have_are_refused():
    for camera, modality in [("cam7", VISIBLE), ("cam3", VISIBLE), ("cam1", INFRARED)]:
        stranger = Candidate("0006", camera, modality, "x.jpg")
        with pytest.raises(InvalidInput, match=f"SYSU-MM01 has {modality} cameras .*; got '{camera}'"):
            select([*site(), stranger], MODES["sysu-all"], INFRARED)
    with pytest.raises(InvalidInput, match="got 'lobby'"):
        select([Candidate("0006", "lobby", VISIBLE, "x.jpg")], MODES["sysu-all"], INFRARED)


def test_draws_are_named_as_the_command_names_them():
    assert [str(draw) for draw in Draws] == ["seeded", "official"]
