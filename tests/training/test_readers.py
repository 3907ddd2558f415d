"""Reading and describing data set trees, whole and broken in each way."""

import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from index.errors import InvalidInput
from index.space import Modality
from training.datasets.describe import describe
from training.datasets.reader import read_dataset
from training.datasets.tree import DatasetInvalid, Layout

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED


def jpeg():
    buffer = BytesIO()
    Image.new("RGB", (4, 8), (90, 20, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if content is None else content)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sysu(root):
    """Identities 1 and 2 train, 3 validates, 4 and 10 test; 2 images by each of 6 cameras."""
    for camera in range(1, 7):
        for person in (1, 2, 3, 4, 10):
            for number in (1, 2):
                put(root / f"cam{camera}/{person:04d}/{number:04d}.jpg")
    write(root / "exp/train_id.txt", "1,2")
    write(root / "exp/val_id.txt", "3")
    write(root / "exp/test_id.txt", "10,4\n")
    return root


def regdb(root):
    """Identities 88 and 9 train, 285 and 3 test; 2 images a modality; splits 1 and 10."""
    for split in (1, 10):
        for part, people in (("train", (88, 9)), ("test", (285, 3))):
            for folder in ("Visible", "Thermal"):
                lines = []
                for label, person in enumerate(people):
                    for number in (1, 2):
                        path = f"{folder}/{person}/man_back_{folder[0].lower()}_{number:05d}_{person}.bmp"
                        put(root / path)
                        lines.append(f"{path} {label}\n")
                write(root / f"idx/{part}_{folder.lower()}_{split}.txt", "".join(lines))
    return root


def llcm(root):
    """Identities 1 and 2 train, 5 tests, by 9 visible and 8 infrared cameras."""
    for folder in ("vis", "nir"):
        lines = []
        for label, person in enumerate((1, 2)):
            for camera in (1, 9):
                path = f"{folder}/{person:04d}/{person:04d}_c{camera:02d}_s185535_f7010_{folder}.jpg"
                put(root / path)
                lines.append(f"{path} {label}")
        write(root / f"idx/train_{folder}.txt", "\n".join(lines))
        for camera in range(1, 10):
            if (folder, camera) != ("nir", 3):
                for number in (1, 2):
                    put(root / f"test_{folder}/cam{camera}/0005/{number}.jpg")
    write(root / "idx/test_id.txt", "5")
    return root


TREES = {Layout.SYSU: sysu, Layout.REGDB: regdb, Layout.LLCM: llcm}


@pytest.mark.parametrize("layout", list(Layout))
def test_every_layout_is_read_whole_and_described(layout, tmp_path):
    dataset = read_dataset(layout, TREES[layout](tmp_path))
    for image in (*dataset.train, *dataset.test):
        assert image.path.is_file()
        assert image.path == tmp_path / image.source
    sources = [image.source for image in (*dataset.train, *dataset.test)]
    assert len(set(sources)) == len(sources)
    assert describe(dataset, check_images=True) == describe(dataset)


def test_sysu(tmp_path):
    dataset = read_dataset(Layout.SYSU, sysu(tmp_path))
    assert {image.person_id for image in dataset.train} == {"0001", "0002", "0003"}
    assert len(dataset.train) == 3 * 6 * 2
    first = dataset.test[0]
    assert (first.source, first.person_id, first.camera_id, first.modality) == (
        "cam1/0004/0001.jpg",
        "0004",
        "cam1",
        VISIBLE,
    )
    infrared = {image.camera_id for image in dataset.test if image.modality is INFRARED}
    assert infrared == {"cam3", "cam6"}
    assert describe(dataset) == {
        "layout": "sysu",
        "train_visible": 3 * 4 * 2,
        "train_infrared": 3 * 2 * 2,
        "train_identities": 3,
        "test": {
            "all-single-shot": {"queries": 8, "gallery": 8, "valid_queries": 8},
            "all-multi-shot": {"queries": 8, "gallery": 16, "valid_queries": 8},
            "indoor-single-shot": {"queries": 8, "gallery": 4, "valid_queries": 8},
            "indoor-multi-shot": {"queries": 8, "gallery": 8, "valid_queries": 8},
        },
    }


def test_describe_drops_what_the_protocol_drops(tmp_path):
    sysu(tmp_path)
    # Of identity 10, indoor search now holds camera 2 alone, which its camera 3 queries do not see.
    shutil.rmtree(tmp_path / "cam1/0010")
    assert describe(read_dataset(Layout.SYSU, tmp_path))["test"]["indoor-single-shot"] == {
        "queries": 8,
        "gallery": 3,
        "valid_queries": 6,
    }


@pytest.mark.parametrize("split", [1, 10])
def test_regdb(tmp_path, split):
    dataset = read_dataset(Layout.REGDB, regdb(tmp_path), split=split)
    assert {image.person_id for image in dataset.test} == {"285", "3"}
    assert {(image.camera_id, image.modality) for image in dataset.train} == {
        ("visible", VISIBLE),
        ("thermal", INFRARED),
    }
    sizes = {"queries": 4, "gallery": 4, "valid_queries": 4}
    assert describe(dataset)["test"] == {"visible-to-infrared": sizes, "infrared-to-visible": sizes}


def test_llcm(tmp_path):
    dataset = read_dataset(Layout.LLCM, llcm(tmp_path))
    assert {image.camera_id for image in dataset.train} == {"cam1", "cam9"}
    assert {image.person_id for image in dataset.train} == {"0001", "0002"}
    assert describe(dataset)["test"] == {
        "visible-to-infrared": {"queries": 18, "gallery": 8, "valid_queries": 18},
        "infrared-to-visible": {"queries": 16, "gallery": 9, "valid_queries": 16},
    }


def test_llcm_camera_may_stand_in_a_folder(tmp_path):
    llcm(tmp_path)
    put(tmp_path / "vis/cam4/0001/a.jpg")
    with (tmp_path / "idx/train_vis.txt").open("a") as lines:
        lines.write("\nvis/cam4/0001/a.jpg 0\n")
    assert read_dataset(Layout.LLCM, tmp_path).train[4].camera_id == "cam4"


def test_files_that_systems_leave_are_passed_over(tmp_path):
    sysu(tmp_path)
    whole = read_dataset(Layout.SYSU, tmp_path)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        put(tmp_path / "cam1/0004" / name, b"x")
    assert read_dataset(Layout.SYSU, tmp_path) == whole


def append(path, text):
    with path.open("a") as lines:
        lines.write(text)


BROKEN = {
    "no root": (Layout.SYSU, shutil.rmtree, "there is no folder"),
    "no id file": (Layout.SYSU, lambda r: (r / "exp/val_id.txt").unlink(), r"val_id\.txt, which is missing"),
    "words in the id file": (Layout.SYSU, lambda r: write(r / "exp/test_id.txt", "4,ten"), "got 'ten' in it"),
    "empty id file": (Layout.SYSU, lambda r: write(r / "exp/test_id.txt", "\n"), "one line of numbers"),
    "two lines": (Layout.SYSU, lambda r: write(r / "exp/test_id.txt", "4\n10"), "one line of numbers"),
    "binary id file": (
        Layout.SYSU,
        lambda r: put(r / "exp/test_id.txt", b"\xff\xfe4"),
        r"test_id\.txt cannot be read",
    ),
    "id twice": (Layout.SYSU, lambda r: write(r / "exp/test_id.txt", "4,4"), "names identity 0004 twice"),
    "id without folder": (
        Layout.SYSU,
        lambda r: write(r / "exp/test_id.txt", "4,77"),
        "identity 0077 is listed",
    ),
    "no camera folder": (Layout.SYSU, lambda r: shutil.rmtree(r / "cam5"), r"cam5, which is missing"),
    "empty camera": (
        Layout.SYSU,
        lambda r: (shutil.rmtree(r / "cam5"), (r / "cam5").mkdir()),
        "cam5 has no image of any listed identity",
    ),
    "stray file": (Layout.SYSU, lambda r: put(r / "cam2/0004/notes.txt"), "0004, found 'notes.txt'"),
    "stray folder": (Layout.SYSU, lambda r: put(r / "cam2/0004/more.jpg/1.jpg"), "found 'more.jpg'"),
    "file for a folder": (
        Layout.SYSU,
        lambda r: (shutil.rmtree(r / "cam2/0004"), put(r / "cam2/0004")),
        "0004 cannot be listed",
    ),
    "train and test": (
        Layout.SYSU,
        lambda r: write(r / "exp/test_id.txt", "4,2"),
        "identity 0002 of the sysu tree is in both",
    ),
    "one-sided identity": (
        Layout.SYSU,
        lambda r: [shutil.rmtree(r / f"cam{camera}/0002") for camera in (3, 6)],
        "training identity 0002 of the sysu tree has visible images and no infrared one",
    ),
    "no list": (
        Layout.REGDB,
        lambda r: (r / "idx/test_thermal_1.txt").unlink(),
        r"test_thermal_1\.txt, which is missing",
    ),
    "empty list": (Layout.REGDB, lambda r: write(r / "idx/test_thermal_1.txt", ""), "lists no image"),
    "line without label": (
        Layout.REGDB,
        lambda r: append(r / "idx/test_visible_1.txt", "Visible/3/a.bmp\n"),
        "line 5 must be a path, a space and a label number",
    ),
    "label is a word": (
        Layout.REGDB,
        lambda r: append(r / "idx/test_visible_1.txt", "Visible/3/a.bmp three\n"),
        "line 5 must be a path",
    ),
    "listed path missing": (
        Layout.REGDB,
        lambda r: append(r / "idx/test_visible_1.txt", "Visible/3/absent.bmp 1\n"),
        r"line 5 names .*absent\.bmp, which is missing",
    ),
    "path out of the tree": (
        Layout.REGDB,
        lambda r: append(r / "idx/test_visible_1.txt", "Visible/../../3/a.bmp 1\n"),
        "inside an identity's folder",
    ),
    "listed twice": (
        Layout.REGDB,
        lambda r: append(r / "idx/test_visible_1.txt", "Visible/3/man_back_v_00001_3.bmp 1\n"),
        "a second time",
    ),
    "not an image": (
        Layout.REGDB,
        lambda r: append(r / "idx/test_visible_1.txt", "Visible/3/a.txt 1\n"),
        "must name an image",
    ),
    "two labels for a folder": (
        Layout.REGDB,
        lambda r: (put(r / "Visible/3/b.bmp"), append(r / "idx/test_visible_1.txt", "Visible/3/b.bmp 0\n")),
        "label 0 or folder 3 has two",
    ),
    "lists swapped": (
        Layout.REGDB,
        lambda r: shutil.copy(r / "idx/train_visible_1.txt", r / "idx/train_thermal_1.txt"),
        "expected a list of thermal images",
    ),
    "label without images": (
        Layout.REGDB,
        lambda r: write(r / "idx/train_thermal_1.txt", "Thermal/88/man_back_t_00001_88.bmp 0\n"),
        "training identity 9 of the regdb tree has visible images and no infrared one",
    ),
    "no camera in the name": (
        Layout.LLCM,
        lambda r: (put(r / "vis/0001/a.jpg"), append(r / "idx/train_vis.txt", "\nvis/0001/a.jpg 0")),
        "expected a camera from 1 to 9",
    ),
    "a camera that is not there": (
        Layout.LLCM,
        lambda r: (
            put(r / "vis/0001/a_c12_.jpg"),
            append(r / "idx/train_vis.txt", "\nvis/0001/a_c12_.jpg 0"),
        ),
        "expected a camera from 1 to 9",
    ),
    "no test folder": (Layout.LLCM, lambda r: shutil.rmtree(r / "test_nir/cam4"), "cam4, which is missing"),
}


@pytest.mark.parametrize(("layout", "damage", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_tree_says_what_is_wrong(layout, damage, message, tmp_path):
    root = TREES[layout](tmp_path / "tree")
    read_dataset(layout, root)
    damage(root)
    with pytest.raises(DatasetInvalid, match=message):
        read_dataset(layout, root)


@pytest.mark.parametrize(
    ("layout", "split"), [(Layout.REGDB, 0), (Layout.REGDB, 11), (Layout.SYSU, 2), (Layout.LLCM, 2)]
)
def test_refuses_a_split_that_the_layout_does_not_have(layout, split, tmp_path):
    with pytest.raises(InvalidInput, match=f"split of {layout} must be from 1 to"):
        read_dataset(layout, TREES[layout](tmp_path), split=split)


@pytest.mark.parametrize("content", [b"", b"no image", jpeg()[:-40]], ids=["empty", "text", "truncated"])
def test_check_images_names_the_files_that_do_not_decode(content, tmp_path):
    sysu(tmp_path)
    put(tmp_path / "cam4/0002/0001.jpg", content)
    dataset = read_dataset(Layout.SYSU, tmp_path)
    describe(dataset)
    with pytest.raises(DatasetInvalid, match=r"1 of 60 images cannot be decoded: .*cam4/0002/0001\.jpg"):
        describe(dataset, check_images=True)


def test_the_published_regdb_lists_are_read(tmp_path):
    lists = Path(__file__).parents[2].parent / "shared/protocol/regdb"
    if not lists.is_dir():
        pytest.skip("the published RegDB lists are not beside the repository (../shared/protocol/regdb)")
    shutil.copytree(lists, tmp_path / "idx")
    image = tmp_path / "idx/one.bmp"
    put(image)
    for path in sorted((tmp_path / "idx").glob("*_1.txt")):
        for line in path.read_text().splitlines():
            target = tmp_path / line.split()[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(image)
    described = describe(read_dataset(Layout.REGDB, tmp_path))
    sizes = {"queries": 2060, "gallery": 2060, "valid_queries": 2060}
    assert described == {
        "layout": "regdb",
        "train_visible": 2060,
        "train_infrared": 2060,
        "train_identities": 206,
        "test": {"visible-to-infrared": sizes, "infrared-to-visible": sizes},
    }
