"""`peca gallery copy` and `peca gallery reindex` beside a real server and after it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from client_site import Server, picture, start_server

from exporter.preprocess import load_image
from exporter.runtime import GreyPixelEncoder
from index.images import image_path
from index.records import ImageRecord
from index.reindex import NewEncoder
from index.space import EmbeddingSpec, Modality
from peca_client import ImageUpload, PecaClient

Peca = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with nine images."""
    server = start_server(tmp_path_factory.mktemp("served"))
    uploads = [
        ImageUpload(
            picture(n),
            camera_id="gate",
            modality=("visible", "infrared")[n % 2],
            captured_at=datetime(2026, 5, 1, 12, tzinfo=UTC),
            image_id=f"i{n}",
        )
        for n in range(9)
    ]
    with PecaClient(server.url, server.key) as client:
        client.ingest(uploads)
    yield server
    server.end()


@pytest.fixture(scope="module")
def stopped(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What that server's data folder would be if it had been stopped."""
    from index.embedded.snapshot import restore_snapshot, take_snapshot

    folder = tmp_path_factory.mktemp("stopped")
    take_snapshot(served.data, served.data / "images", folder / "snapshot")
    restore_snapshot(folder / "snapshot", folder / "data", folder / "data" / "images")
    return folder / "data"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of another encoder than the server's: grey pixels of another size."""
    folder = tmp_path / "bundle"
    folder.mkdir()

    def load_encoder(path: Path, provider: str) -> GreyPixelEncoder:
        assert (path, provider) == (folder, "auto")
        return GreyPixelEncoder((16, 8))

    monkeypatch.setattr("exporter.runtime.load_encoder", load_encoder)
    return folder


@pytest.fixture
def data(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "data"))


def spec_of(data: Path) -> EmbeddingSpec | None:
    from index.gallery import stored_spec

    return stored_spec(f"embedded:{data}")


def test_a_copy_beside_a_server_is_whole_and_says_where_image_files_are(
    served: Server, peca: Peca, tmp_path: Path
) -> None:
    source, target = f"embedded:{served.data}", f"embedded:{tmp_path}/copy"
    code, out, _ = peca("gallery", "copy", source, target)
    assert code == 0
    assert "9 images copied; there before: 0" in out
    assert "9 of 9 verified" in out
    assert "image files were left where they are" in out
    assert not (tmp_path / "copy" / "images").exists()
    code, out, _ = peca("gallery", "copy", source, target, "--json")
    told = json.loads(out)
    assert (told["added"], told["unchanged"], told["fault_count"]) == (0, 9, 0)


def test_retention_rules_go_along(data: Path, peca: Peca, tmp_path: Path) -> None:
    peca("gallery", "retention", "--gallery", f"embedded:{data}", "--days", 30)
    assert peca("gallery", "copy", f"embedded:{data}", f"embedded:{tmp_path}/copy")[0] == 0
    _, out, _ = peca("gallery", "retention", "--gallery", f"embedded:{tmp_path}/copy")
    assert "all cameras: kept 30 days" in out


def test_a_copy_that_is_not_whole_ends_with_1_and_says_why(data: Path, peca: Peca, tmp_path: Path) -> None:
    target = f"embedded:{tmp_path}/copy"
    peca("gallery", "copy", f"embedded:{data}", target)
    peca("gallery", "erase", "--gallery", f"embedded:{data}", "--image-id", "i3", "--yes")
    code, out, _ = peca("gallery", "copy", f"embedded:{data}", target)
    assert code == 1
    assert "the source holds 8 images, the target 9" in out
    assert "the copy is not whole; the target holds images that the source does not" in out
    assert "run it again with --mirror" in out


def test_a_copy_follows_removals_when_it_is_asked_to_mirror(data: Path, peca: Peca, tmp_path: Path) -> None:
    copy = ("gallery", "copy", f"embedded:{data}", f"embedded:{tmp_path}/copy")
    assert peca(*copy, "--mirror")[0] == 1, "there is nothing to compare with yet"
    peca(*copy)
    peca("gallery", "erase", "--gallery", f"embedded:{data}", "--image-id", "i3", "--yes")
    code, out, _ = peca(*copy, "--mirror")
    assert code == 0
    assert "1 image that the source does not hold would be removed from embedded:" in out
    assert "  image 'i3'\n0 images would be replaced" in out
    assert "nothing was changed; to do it, add --yes" in out
    assert peca(*copy)[0] == 1, "nothing was changed indeed"
    code, out, _ = peca(*copy, "--mirror", "--yes")
    assert code == 0
    assert "removed from the target: 1; replaced in it: 0" in out
    assert "8 of 8 verified" in out
    assert peca(*copy)[0] == 0
    assert peca(*copy, "--yes")[0] == 2


@pytest.mark.parametrize("target", ["memory:", "same"])
def test_a_copy_to_nowhere_is_refused(data: Path, peca: Peca, target: str) -> None:
    source = f"embedded:{data}"
    code, _, err = peca("gallery", "copy", source, source if target == "same" else target)
    assert code == 1
    assert "another gallery that lasts" in err
    code, _, err = peca("gallery", "copy", source, f"embedded:{data}/images/..")
    assert "another gallery that lasts" in err, "the same folder by another path"
    code, _, err = peca("gallery", "copy", f"embedded:{data}/none", "memory:")
    assert "no gallery at embedded:" in err


def test_beside_a_server_reindex_makes_ready_and_says_what_to_do(
    served: Server, peca: Peca, bundle: Path
) -> None:
    code, out, _ = peca("gallery", "reindex", "--gallery", f"embedded:{served.data}", "--encoder", bundle)
    assert code == 1
    assert "9 images embedded, 0 embedded before" in out
    assert f"not switched yet: the gallery {served.data} is open for writing by process" in out
    assert "stop the server" in out
    with PecaClient(served.url, served.key) as client:
        assert len(client.search(picture(0), query_modality="visible").items) == 4


def test_reindex_switches_and_the_gallery_is_whole(data: Path, peca: Peca, bundle: Path) -> None:
    url = f"embedded:{data}"
    before = spec_of(data)
    code, out, _ = peca("gallery", "reindex", "--gallery", url, "--encoder", bundle)
    assert code == 0
    assert "9 images embedded" in out
    assert f"{url} now holds 9 images of the encoder in" in out
    assert spec_of(data) != before
    code, out, _ = peca("gallery", "verify", "--gallery", url, "--check-images")
    assert code == 0, out
    _, out, _ = peca("gallery", "erase", "--gallery", url, "--image-id", "i2", "--yes")
    assert "1 image erased, with 1 file in" in out
    assert "1 record erased with vectors in 1 generation of another encoder" in out
    code, out, _ = peca("gallery", "reindex", "--gallery", url, "--drop-old")
    assert (code, "1 old generation of" in out) == (0, True)
    _, out, _ = peca("gallery", "stats", "--gallery", url)
    assert "8 images" in out


def test_erase_reaches_every_generation(data: Path, peca: Peca, bundle: Path) -> None:
    url, before = f"embedded:{data}", spec_of(data)
    assert peca("gallery", "reindex", "--gallery", url, "--encoder", bundle)[0] == 0
    erase = ("gallery", "erase", "--gallery", url, "--image-id", "i2")
    _, out, _ = peca(*erase)
    assert "1 record would be erased with vectors in 1 generation of another encoder, too; add --yes" in out
    assert any(b"i2visible" in path.read_bytes() for path in data.glob("gallery.sqlite3*"))
    assert peca(*erase, "--yes")[0] == 0
    assert not [path for path in data.rglob("*") if path.is_file() and b"i2visible" in path.read_bytes()]
    (data / "generation").unlink()  # back to the first one
    assert spec_of(data) == before
    assert ": no fault; 8 images" in peca("gallery", "verify", "--gallery", url)[1]


def test_erase_takes_what_only_a_generation_that_is_not_in_use_holds(
    data: Path, peca: Peca, bundle: Path
) -> None:
    from index.embedded.engine import EmbeddedGallery
    from index.gallery import embedded_folder
    from index.records import Where

    url = f"embedded:{data}"
    peca("gallery", "reindex", "--gallery", url, "--encoder", bundle)
    spec, folder = spec_of(data), embedded_folder(url)
    assert spec is not None
    assert folder is not None
    with closing(EmbeddedGallery(folder, spec)) as serving:  # as a server's DELETE does
        serving.remove(Where(camera_ids=["gate"]))
    erase = ("gallery", "erase", "--gallery", url, "--camera-id", "gate", "--image-id", "i2", "--yes")
    code, out, _ = peca(*erase)
    assert (code, out.splitlines()[:2]) == (
        0,
        [
            f"0 images erased, with 1 file in {data}/images",
            "1 record erased with vectors in 1 generation of another encoder",
        ],
    )
    assert not any(b"i2visible" in path.read_bytes() for path in data.glob("gallery.sqlite3*"))


def test_erase_does_nothing_where_a_generation_is_in_use_or_cannot_be_opened(
    data: Path, peca: Peca, bundle: Path
) -> None:
    from index.embedded.store import open_stored

    url = f"embedded:{data}"
    peca("gallery", "reindex", "--gallery", url, "--encoder", bundle)
    erase = ("gallery", "erase", "--gallery", url, "--image-id", "i2", "--yes")
    with closing(open_stored(data, read_only=False)):
        code, _, err = peca(*erase)
    assert code == 1
    assert err.startswith(f"peca: nothing was erased, since the generation of another encoder in {data} may ")
    assert "is open for writing by process" in err
    database = data / "gallery.sqlite3"
    whole = database.read_bytes()
    database.write_bytes(b"torn" * 1000)
    code, _, err = peca(*erase)
    assert code == 1
    assert "nothing was erased, since the generation" in err
    assert "peca gallery reindex --drop-old" in err
    assert ": no fault; 9 images" in peca("gallery", "verify", "--gallery", url)[1]
    database.write_bytes(whole)
    assert peca(*erase)[0] == 0


def test_erase_ends_what_a_kill_left_of_a_generation(data: Path, peca: Peca, bundle: Path) -> None:
    from index.embedded.locks import ProcessLock

    url = f"embedded:{data}"
    peca("gallery", "reindex", "--gallery", url, "--encoder", bundle)
    # Of the old generation, while it was dropped; and of a next one, while it was begun.
    for left in ("gallery.sqlite3-wal", "index.faiss"):
        (data / left).write_bytes((data / "gallery.sqlite3").read_bytes())
    (data / "gallery.sqlite3").unlink()
    begun = data / "generations" / "0123456789abcdef"
    begun.mkdir()
    (begun / "gallery.sqlite3").touch()
    erase = ("gallery", "erase", "--gallery", url, "--camera-id", "gate", "--image-id", "i2")
    code, out, err = peca(*erase)
    assert (code, err) == (0, ""), out
    lock = ProcessLock(begun / "gallery.lock")  # as while it is made
    code, _, err = peca(*erase, "--yes")
    lock.release()
    assert code == 1
    assert "is open for writing by process" in err
    assert ": no fault; 9 images" in peca("gallery", "verify", "--gallery", url)[1]
    code, out, _ = peca(*erase, "--yes")
    assert code == 0
    assert "1 image erased, with 1 file in" in out
    assert not [path for path in data.rglob("*") if path.is_file() and b"i2visible" in path.read_bytes()]


def test_reindex_names_an_image_without_its_file(data: Path, peca: Peca, bundle: Path) -> None:
    image_path(data / "images", "i4").unlink()
    reindex = ("gallery", "reindex", "--gallery", f"embedded:{data}", "--encoder", bundle)
    code, out, _ = peca(*reindex)
    assert code == 1
    assert "image 'i4' has no file" in out
    assert "not switched yet: 1 image could not be embedded" in out
    code, out, _ = peca(*reindex, "--without-missing", "--json")
    told = json.loads(out)
    assert (code, told["switched"], told["images"], list(told["left"])) == (0, True, 8, ["i4"])


def test_reindex_in_milvus_ends_with_1_where_what_came_last_has_no_file(
    peca: Peca, bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("milvus_lite")
    from index.gallery import open_gallery
    from index.switching import reindex

    url, images = f"milvus:{tmp_path}/gallery.db", tmp_path / "data" / "images"
    images.mkdir(parents=True)
    late = ImageRecord("late", Modality.VISIBLE, "gate", datetime(2026, 5, 1, 12, tzinfo=UTC))
    old, new = GreyPixelEncoder(), GreyPixelEncoder((16, 8))

    with closing(open_gallery(url, old.spec)) as serving:
        serving.add([replace(late, image_id="early")], np.eye(old.spec.dim)[:1])
        path = image_path(images, "early")
        path.parent.mkdir()
        path.write_bytes(picture(1))

        def store(looked_at: int) -> None:
            serving.add([late], np.eye(old.spec.dim)[:1])

        encoder = NewEncoder(new.spec, lambda data: load_image(data, new.image_hw), new.encode)
        reindex(url, images, encoder, progress=store)
    command = ["gallery", "reindex", "--gallery", url, "--data-dir", images.parent, "--encoder", bundle]
    code, out, _ = peca(*command)
    assert code == 1
    assert "image 'late' has no file" in out
    assert "is switched, but of what was stored last 1 image could not be embedded" in out
    assert "put the files of those images back, or give --without-missing" in out
    code, out, _ = peca(*command, "--without-missing")
    assert (code, "the old generation is kept" in out) == (0, True)


def test_reindex_to_the_encoder_in_use_says_so_and_does_nothing(data: Path, peca: Peca, bundle: Path) -> None:
    reindex = ("gallery", "reindex", "--gallery", f"embedded:{data}", "--encoder", bundle)
    assert peca(*reindex)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    code, out, err = peca(*reindex)
    assert (code, out) == (1, "")
    told = " ".join(err.split())
    assert (
        f"the gallery at embedded:{data} is of encoder grey-pixels-16x8 already, so nothing was done" in told
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert peca("gallery", "reindex", "--gallery", f"embedded:{data}", "--drop-old")[1].startswith("1 old")


def test_reindex_without_a_task_or_without_files_is_refused(data: Path, peca: Peca, bundle: Path) -> None:
    code, _, err = peca("gallery", "reindex", "--gallery", f"embedded:{data}")
    assert (code, "--drop-old" in err) == (2, True)
    shutil.rmtree(data / "images")
    code, _, err = peca("gallery", "reindex", "--gallery", f"embedded:{data}", "--encoder", bundle)
    assert (code, "--data-dir" in err) == (1, True)
