"""What is Milvus's own: addresses, rows, several processes, a server that goes away and comes back."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milvus_process import MilvusProcess, forget
from numpy.typing import NDArray

from index.errors import GalleryUnavailable, GalleryUnreachable, InvalidInput
from index.gallery import AddReport, open_gallery, shown_address, stored_spec
from index.milvus_address import MilvusAddress, MilvusIndex
from index.milvus_rows import Row, condition, decoded, encoded
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec, Modality, l2_normalise
from peca_client import PecaClient

SPEC = EmbeddingSpec(4, "encoder-a")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ROWS = np.eye(4, dtype=np.float32)


def record(image_id: str, modality: Modality = Modality.VISIBLE) -> ImageRecord:
    return ImageRecord(image_id, modality, "cam1", NOON)


@pytest.mark.parametrize(
    ("url", "uri", "database", "collection", "index"),
    [
        ("milvus:db1:19530", "http://db1:19530", "", "peca_gallery", MilvusIndex.FLAT),
        ("milvus:db1:19530/site?collection=day", "http://db1:19530", "site", "day", MilvusIndex.FLAT),
        ("milvus:https://db1/site", "https://db1:443", "site", "peca_gallery", MilvusIndex.FLAT),
        ("milvus:http://[::1]:19530", "http://[::1]:19530", "", "peca_gallery", MilvusIndex.FLAT),
        ("milvus:./a b/gallery.db", "./a b/gallery.db", "", "peca_gallery", MilvusIndex.FLAT),
        ("milvus:x.db?index=IVF_FLAT", "x.db", "", "peca_gallery", MilvusIndex.IVF_FLAT),
    ],
)
def test_an_address_says_where_a_gallery_lies(
    url: str, uri: str, database: str, collection: str, index: MilvusIndex
) -> None:
    address = MilvusAddress.parse(url)
    assert (address.uri, address.database, address.collection, address.index) == (
        uri,
        database,
        collection,
        index,
    )
    assert (address.file is None) == ("://" in uri)


@pytest.mark.parametrize(
    "url",
    [
        "milvus:db1",
        "milvus:db1:port",
        "milvus:http://:19530",
        "milvus:http://db1:99999",
        "milvus:ftp://db1:19530",
        "milvus:db1:19530/a/b",
        "milvus:db1:19530?collection=",
        "milvus:db1:19530?collection=a-b",
        "milvus:db1:19530?index=HNSW",
        "milvus:db1:19530?other=1",
        "milvus:/a/folder",
    ],
)
def test_an_address_of_no_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="milvus:HOST:PORT"):
        MilvusAddress.parse(url)


def test_a_token_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    address = MilvusAddress.parse("milvus:https://root:s%40cret@db1:19530/site")
    assert address.token == "root:s@cret"
    assert address.uri == "https://db1:19530"
    monkeypatch.setenv("PECA_MILVUS_TOKEN", "s3cret")
    assert MilvusAddress.parse("milvus:db1:19530").token == "s3cret"
    assert "cret" not in f"{address} {address!r} {MilvusAddress.parse('milvus:db1:19530')!r}"
    assert shown_address("milvus:https://root:s%40cret@db1:19530/site") == "milvus:https://db1:19530/site"
    with pytest.raises(InvalidInput) as refused:
        MilvusAddress.parse("milvus:http://root:secret@db1:19530?other=1")
    assert "secret" not in str(refused.value)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
records = st.builds(
    ImageRecord,
    image_id=texts,
    modality=st.sampled_from(Modality),
    camera_id=texts,
    captured_at=st.datetimes(timezones=st.just(UTC)),
    person_id=st.none() | st.just("") | texts,
    track_id=st.none() | texts,
    source=st.none() | texts,
)


@given(records)
def test_a_row_gives_its_record_back_and_needs_no_escapes(stored: ImageRecord) -> None:
    columns = encoded(Row(stored, 7, ROWS[0]))
    assert decoded(columns).record == stored
    for value in columns.values():
        if isinstance(value, str):
            assert value.isascii()
            assert value.isprintable()
            assert not set(value) & set("\"'\\")


def test_a_filter_cannot_be_broken_out_of() -> None:
    said = condition(Where(camera_ids=['x"] or image_id > "'], person_ids=["\\"]))
    assert said == 'camera_id in ["x%22] or image_id > %22"] and person_id in ["=%5C"]'
    assert condition(Where(person_ids=[])) is None
    assert condition(Where(modality=Modality.VISIBLE, exclude_camera_ids=[])) == ""


def test_text_that_milvus_cannot_store_is_refused_before_anything_is() -> None:
    with pytest.raises(InvalidInput, match="source of image 'a' is too long"):
        encoded(Row(ImageRecord("a", Modality.VISIBLE, "c", NOON, source="é" * 20_000), 1, ROWS[0]))


def test_a_server_that_is_not_there_is_unreachable() -> None:
    pytest.importorskip("pymilvus")
    with pytest.raises(GalleryUnreachable, match=r"does not answer at milvus:http://127.0.0.1:9\?"):
        open_gallery("milvus:127.0.0.1:9", SPEC)


def test_a_server_that_takes_connections_and_says_nothing_is_unreachable() -> None:
    pytest.importorskip("pymilvus")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(GalleryUnreachable, match="may be made again"):
            open_gallery(f"milvus:127.0.0.1:{silent.getsockname()[1]}", SPEC)
        assert time.monotonic() - began < 10


def test_a_search_of_a_server_that_hangs_ends_before_its_client_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to a server of milvus-lite falls silent, and later speaks again."""
    pytest.importorskip("milvus_lite")
    from milvus_lite.server_manager import server_manager_instance

    from index import milvus_connection

    assert signature(PecaClient).parameters["timeout_s"].default >= 2 * milvus_connection.READ_S
    monkeypatch.setattr(milvus_connection, "READ_S", 0.5)
    path = str(tmp_path / "gallery.db")
    port = int(server_manager_instance.start_and_get_uri(path).rpartition(":")[2])
    try:
        with Way(port) as way, closing(open_gallery(f"milvus:127.0.0.1:{way.port}", SPEC)) as gallery:
            gallery.add([record("a")], ROWS[:1])
            before = gallery.search(ROWS[:1], 5)
            way.open.clear()
            began = time.monotonic()
            with pytest.raises(GalleryUnreachable, match="may be made again"):
                gallery.search(ROWS[:1], 5)
            assert time.monotonic() - began < 5
            way.open.set()
            assert _again(lambda: gallery.search(ROWS[:1], 5)) == before
    finally:
        server_manager_instance.release_server(path)


class Way:
    """A port that leads to another one while it is ``open``, and else takes bytes and gives none."""

    def __init__(self, to: int) -> None:
        self.open = Event()
        self.open.set()
        self._to = to
        self._stack = ExitStack()
        self._entry = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port = self._entry.getsockname()[1]

    def __enter__(self) -> "Way":
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._stack.close()

    def _accept(self) -> None:
        while True:
            try:
                near = self._entry.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            for one, other in ((near, far), (far, near)):
                self._stack.enter_context(one)
                Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                self.open.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def test_a_file_of_milvus_lite_keeps_a_gallery(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    url = f"milvus:{tmp_path}/new/gallery.db"
    assert stored_spec(url) is None
    with pytest.raises(GalleryUnavailable, match="no gallery"):
        open_gallery(url, SPEC, read_only=True)
    with closing(open_gallery(url, SPEC)) as first, closing(open_gallery(url, SPEC)) as second:
        assert first.add([record("a"), record("b", Modality.INFRARED)], ROWS[:2]).added == ("a", "b")
        assert second.add([record("a")], ROWS[:1]).unchanged == ("a",)
        assert [one.count for one in first.cameras()] == [1, 1]
        second.add([record("c")], ROWS[2:3])
        assert [one.count for one in first.cameras()] == [1, 2], "what came since is read"
        second.remove(Where(image_ids=["c"]))
        assert [one.count for one in first.cameras()] == [1, 1], "what was removed is noticed"
        first.close()
        assert second.count() == 2, "the file's server ends with its last user"
    with closing(open_gallery(url, SPEC, read_only=True)) as opened:
        (hits,) = opened.search(ROWS[:1], 5)
        assert [hit.record.image_id for hit in hits] == ["a", "b"]
        with pytest.raises(GalleryUnavailable, match="read-only"):
            opened.add([record("c")], ROWS[:1])
        with pytest.raises(GalleryUnavailable, match="read-only"):
            opened.remove(ANY)


def test_what_a_file_of_milvus_lite_removed_stays_away_when_its_id_comes_again(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    url = f"milvus:{tmp_path}/gallery.db"
    with closing(open_gallery(url, SPEC)) as gallery:
        gallery.add([record("a"), record("b")], ROWS[:2])
    with closing(open_gallery(url, SPEC)) as gallery:
        assert gallery.remove(ANY) == 2
        again = [record("a", Modality.INFRARED)]
        assert gallery.add(again, ROWS[2:3]).added == ("a",)
        assert gallery.get("a") == again[0]
        assert gallery.search(ROWS[:1], 5, Where(modality=Modality.VISIBLE)) == [[]]


@pytest.mark.milvus
@pytest.mark.slow
class TestServer:
    @pytest.fixture
    def url(self, milvus_url: str) -> Iterator[str]:
        url = f"{milvus_url}?collection=test_{uuid.uuid4().hex}"
        yield url
        forget(url)

    def test_processes_share_a_gallery_and_its_beginning(self, url: str) -> None:
        """Four processes begin one gallery and add the same images, some under both modalities, at once."""
        command = [sys.executable, "-c", ADDING, url]
        processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "abcd"]
        told = [process.communicate(timeout=200)[0].split() for process in processes]
        assert [process.returncode for process in processes] == [0] * 4
        with closing(open_gallery(url, SPEC)) as gallery:
            stored = [one for page, _ in gallery.vectors() for one in page]
            ids = [one.image_id for one in stored]
            assert len(ids) == len(set(ids)) == gallery.count() == 120 + 4 * 20
            assert sum(gallery.count(Where(modality=modality)) for modality in Modality) == len(ids)
            (hits,) = gallery.search(ROWS[:1], 500)
            assert sorted(hit.record.image_id for hit in hits) == sorted(ids)
        assert set.union(*(set(added) for added in told)) == set(ids), "every image was added by someone"

    def test_what_one_process_stored_another_finds(self, url: str) -> None:
        with closing(open_gallery(url, SPEC)) as one, closing(open_gallery(url, SPEC)) as other:
            one.add([record("a")], ROWS[:1])
            assert other.add([record("a")], ROWS[:1]).unchanged == ("a",)
            assert other.remove(Where(image_ids=["a"])) == 1
            assert other.count() == 0
            assert other.get("a") is None
            assert one.add([record("a")], ROWS[1:2]).added == ("a",)

    def test_an_image_that_two_processes_left_in_both_modalities_is_one_once_added_again(
        self, url: str
    ) -> None:
        """The later of the two ended before it settled; Milvus gives either where it is asked for the id."""
        from pymilvus import MilvusClient

        from index.milvus_collection import generation_name

        address = MilvusAddress.parse(url)
        with (
            closing(open_gallery(url, SPEC)) as gallery,
            closing(MilvusClient(address.uri, dedicated=True)) as client,
        ):
            for position, modality in ((9, Modality.VISIBLE), (5, Modality.INFRARED)):
                columns = encoded(Row(record("a", modality), position, ROWS[0]))
                client.upsert(generation_name(address, SPEC), [columns], partition_name=modality.value)
            retried = gallery.add([record("a", Modality.INFRARED), record("b")], ROWS[:2])
            assert (retried.conflicting, retried.added) == (("a",), ("b",))
            assert gallery.add([record("a")], ROWS[:1]).unchanged == ("a",)
            assert [gallery.count(Where(modality=modality)) for modality in Modality] == [2, 0]
            (hits,) = gallery.search(ROWS[:1], 5, Where(modality=Modality.INFRARED))
            assert hits == []
            (hits,) = gallery.search(ROWS[:1], 5)
            assert [hit.record.image_id for hit in hits] == ["a", "b"]

    def test_a_compressed_search_of_a_modality_finds_what_is_there(self, url: str) -> None:
        """IVF, sealed and indexed: exact under a filter, and of recall 0.99 without; see docs/scale.md."""
        from pymilvus import MilvusClient

        from index.milvus_collection import generation_name

        spec, random = EmbeddingSpec(32, "encoder-a"), np.random.default_rng(0)
        centres = random.standard_normal((200, 32))
        people = random.integers(0, 200, 8000)
        rows = (centres[people] + random.standard_normal((8000, 32))).astype(np.float32)
        stored = [
            ImageRecord(f"i{i}", list(Modality)[i % 2], f"cam{i % 100}", NOON) for i in range(len(rows))
        ]
        queries = (centres[:40] + random.standard_normal((40, 32))).astype(np.float32)
        with (
            closing(open_gallery(f"{url}&index=IVF_FLAT", spec)) as gallery,
            closing(open_gallery("memory:", spec)) as oracle,
        ):
            for start in range(0, 8000, 1000):
                gallery.add(stored[start : start + 1000], rows[start : start + 1000])
            oracle.add(stored, rows)
            with closing(MilvusClient(MilvusAddress.parse(url).uri, dedicated=True)) as client:
                seal(client, generation_name(MilvusAddress.parse(url), spec), queries)
            narrow = Where(modality=Modality.VISIBLE, camera_ids=["cam2", "cam4"])
            assert gallery.search(queries, 20, narrow) == oracle.search(queries, 20, narrow)
            wide = Where(modality=Modality.VISIBLE)
            assert gallery.search(queries, 20, wide, exact=True) == oracle.search(queries, 20, wide)
            found, expected = gallery.search(queries, 20, wide), oracle.search(queries, 20, wide)
            shared = [
                len({*map(repr, a)} & {*map(repr, b)}) / 20 for a, b in zip(found, expected, strict=True)
            ]
            assert np.mean(shared) >= 0.99

    def test_a_gallery_that_was_switched_takes_no_vectors_of_the_old_encoder(
        self, url: str, tmp_path: Path
    ) -> None:
        from test_reindex import NEW, decode, encode, picture

        from index.images import image_path
        from index.reindex import NewEncoder
        from index.switching import drop_old, reindex

        images = tmp_path / "images"
        for i in range(30):
            path = image_path(images, f"i{i}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(i))
        with closing(open_gallery(url, SPEC)) as serving:
            serving.add([record(f"i{i}") for i in range(30)], np.tile(ROWS, (8, 1))[:30])
            report = reindex(url, images, NewEncoder(NEW, decode, encode))
            assert (report.embedded, report.images, report.switched) == (30, 30, True)
            assert len(serving.search(ROWS[:1], 50)[0]) == 30, "the old generation still answers"
            with pytest.raises(GalleryUnavailable, match="encoder new now"):
                serving.add([record("late")], ROWS[:1])
        assert stored_spec(url) == NEW
        with closing(open_gallery(url, NEW)) as gallery:
            (page,) = gallery.vectors()
            assert [one.image_id for one in page[0]] == [f"i{i}" for i in range(30)]
            expected = np.concatenate([encode(decode(picture(i))[np.newaxis], []) for i in range(30)])
            np.testing.assert_allclose(page[1], l2_normalise(expected), atol=1e-6)
        assert len(drop_old(url)) == 1
        assert drop_old(url) == []
        assert stored_spec(url) == NEW

    def test_a_copy_from_the_disk_is_whole(self, url: str, tmp_path: Path) -> None:
        from test_copying import SPEC as COPIED
        from test_copying import filled, order

        from index.copying import copy_gallery

        source = filled(1500)
        with closing(open_gallery(url, COPIED)) as target:
            report = copy_gallery(source, target)
            assert (report.verified, report.faults) == (1500, [])
            assert report.largest_difference < 1e-6
            assert order(target) == order(source)
            with closing(open_gallery(f"embedded:{tmp_path}/back", COPIED)) as back:
                assert copy_gallery(target, back).faults == []
                assert order(back) == order(source)

    def test_a_collection_that_is_no_gallery_is_refused(self, url: str) -> None:
        from pymilvus import MilvusClient

        address = MilvusAddress.parse(url)
        client = MilvusClient(address.uri, dedicated=True)
        client.create_collection(address.collection, dimension=4)
        try:
            with pytest.raises(GalleryUnavailable, match="is no gallery"):
                open_gallery(url, SPEC)
        finally:
            client.drop_collection(address.collection)
            client.close()


def seal(client: Any, collection: str, queries: NDArray[np.float64]) -> None:
    """Have Milvus index what it holds, and wait until searches go by it: one cell gives few results."""
    client.flush(collection)
    options = {"partition_names": ["visible"], "search_params": {"params": {"nprobe": 1}}}
    end = time.monotonic() + 120
    while all(len(hits) == 50 for hits in client.search(collection, list(queries), limit=50, **options)):
        assert time.monotonic() < end, "Milvus compares with every vector still"
        time.sleep(0.5)


ADDING = """
import sys
from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality
from datetime import UTC, datetime
import numpy as np

url, name = sys.argv[1:]
gallery = open_gallery(url, EmbeddingSpec(4, "encoder-a"))
noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
for start in range(0, 120, 30):
    # Of each batch a third is of another modality in every other process.
    records = [
        ImageRecord(f"i{i}", list(Modality)[i % 3 == 0 and name in "bd"], "cam1", noon)
        for i in range(start, start + 30)
    ]
    print(*gallery.add(records, np.tile(np.eye(4), (8, 1))[:30]).added)
own = [ImageRecord(f"{name}{i}", "visible", "cam1", noon) for i in range(20)]
print(*gallery.add(own, np.tile(np.eye(4), (5, 1))).added)
gallery.close()
"""


@pytest.mark.milvus
@pytest.mark.slow
def test_a_server_that_went_away_is_found_again(milvus_server: MilvusProcess) -> None:
    """Killed and started again on the same data: a clear error meanwhile, and nothing acknowledged lost."""
    url = f"{milvus_server.url}?collection=test_{uuid.uuid4().hex}"
    with closing(open_gallery(url, SPEC)) as gallery:
        assert gallery.add([record("a"), record("b")], ROWS[:2]).added == ("a", "b")
        before = gallery.search(ROWS[:1], 5)
        milvus_server.kill()
        try:
            calls = [
                lambda: gallery.search(ROWS[:1], 5),
                lambda: gallery.add([record("c")], ROWS[2:3]),
                gallery.count,
            ]
            for call in calls:
                with pytest.raises(GalleryUnreachable, match="may be made again"):
                    call()
        finally:
            milvus_server.start()
        assert _again(lambda: gallery.search(ROWS[:1], 5)) == before
        assert _again(lambda: gallery.add([record("c")], ROWS[2:3])).added == ("c",)
        assert gallery.count() == 3
    forget(url)


@pytest.mark.milvus
@pytest.mark.slow
def test_calls_that_a_server_died_in_may_be_made_again(
    milvus_server: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread adds and one searches without a pause; both are in a call when the server is killed."""
    from index import milvus_connection

    url = f"{milvus_server.url}?collection=test_{uuid.uuid4().hex}"
    rows = np.tile(ROWS, (25, 1))
    added = 0
    with closing(open_gallery(url, SPEC)) as gallery, ThreadPoolExecutor() as threads:

        def add() -> AddReport:
            return gallery.add([record(f"i{added}-{n}", list(Modality)[n % 2]) for n in range(100)], rows)

        def adding() -> None:
            nonlocal added
            while True:
                assert len(add().added) == 100
                added += 1

        def searching() -> None:
            while True:
                gallery.search(ROWS, 20)

        monkeypatch.setattr(milvus_connection, "CALL_S", 2.0)
        monkeypatch.setattr(milvus_connection, "READ_S", 2.0)
        calls = [threads.submit(adding), threads.submit(searching)]
        try:
            while added < 3 and not any(call.done() for call in calls):
                time.sleep(0.05)
        finally:
            milvus_server.kill()
        try:
            for call in calls:
                with pytest.raises(GalleryUnreachable, match="may be made again"):
                    call.result(60)
        finally:
            milvus_server.start()
        report = _again(add)
        assert len(report.added) + len(report.unchanged) == 100
        assert gallery.count() == 100 * (added + 1), "nothing acknowledged was lost, nothing is there twice"
        assert len(_again(lambda: gallery.search(ROWS[:1], 20))[0]) == 20
    forget(url)


def _again(call):
    """What a client does with a retryable error, for at most two minutes."""
    end = time.monotonic() + 120
    while True:
        try:
            return call()
        except GalleryUnreachable:
            if time.monotonic() > end:
                raise
            time.sleep(GalleryUnreachable.retry_after_s)
