"""The decoded file of a data set follows the data set."""

import os

import pytest
from PIL import Image

from index.errors import InvalidInput
from index.space import Modality
from training.data.arrays import decode_images, load_images
from training.datasets.tree import TreeImage


def test_an_image_that_changed_on_disk_is_decoded_anew(tmp_path):
    path = tmp_path / "a.png"
    sample = TreeImage(path, "a.png", "1", "gate", Modality.VISIBLE)
    calls = []
    for colour in ((200, 10, 10), (10, 10, 200)):
        Image.new("RGB", (20, 40), colour).save(path)
        # Of one size, and a second apart: the time alone tells them apart.
        os.utime(path, (len(calls), len(calls)))
        images = decode_images([sample], (8, 4), tmp_path / "run", lambda done, of: calls.append(done))
        assert tuple(images.pixels[0, 0, 0]) == colour
    assert len(calls) == 2
    assert tuple(load_images(tmp_path / "run").pixels[0, 0, 0]) == (10, 10, 200)


def test_the_same_images_with_other_labels_keep_the_file_and_take_the_labels(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 40), (1, 2, 3)).save(path)
    calls = []
    for person in ("1", "2"):
        sample = TreeImage(path, "a.png", person, "gate", Modality.INFRARED)
        images = decode_images([sample], (8, 4), tmp_path / "run", lambda done, of: calls.append(done))
        assert images.identities == (person,)
        assert images.modality.tolist() == [1]
    assert len(calls) == 1


def test_a_decoded_file_that_was_cut_short_is_named_and_decoded_anew(tmp_path):
    path, run = tmp_path / "a.png", tmp_path / "run"
    Image.new("RGB", (20, 40), (1, 2, 3)).save(path)
    samples = [TreeImage(path, "a.png", "1", "gate", Modality.INFRARED)]
    decode_images(samples, (8, 4), run)
    (decoded,) = run.glob("*.npy")
    whole = decoded.read_bytes()
    decoded.write_bytes(whole[:-5])
    with pytest.raises(InvalidInput, match=r"decoded images in .*run are damaged"):
        load_images(run)
    assert decode_images(samples, (8, 4), run).pixels.shape == (1, 8, 4, 3)
    assert decoded.read_bytes() == whole
    (run / "images.json").write_text("{")
    with pytest.raises(InvalidInput, match="damaged"):
        load_images(run)
