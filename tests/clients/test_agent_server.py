"""The camera agent before a network of one's own, and before a server that is busy, away, or says no."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import agent_video
import cv2
import numpy as np
import onnx
import pytest
from client_site import REPOSITORY
from onnx import TensorProto, helper

from peca_client.__main__ import main
from peca_client.watch.detectors import open_detector
from peca_client.watch.errors import WatchError
from peca_client.watch.tracks import overlap

Watch = Callable[..., tuple[int, dict]]
SIDE = 64
# Centre, size and score of one person in the network's input, as YOLO v8 gives them.
BOX = (32.0, 32.0, 20.0, 40.0, 0.9)


class Busy(BaseHTTPRequestHandler):
    """Answers each request by the next status of the script, the last for ever; keeps what it took."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        script, status = self.server.script, 200
        if script:
            status = script.pop(0) if len(script) > 1 else script[0]
        answers = {200: self._taken, "refused": self._refused}
        content = answers[status](body) if status in answers else {"title": "Not now", "status": status}
        self.server.asked.append(status)
        data = json.dumps(content).encode()
        self.send_response(status if isinstance(status, int) else 422)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        if status in (429, 503):
            self.send_header("Retry-After", "0" if status == 503 else "1")
        self.end_headers()
        self.wfile.write(data)

    def _ids(self, body: bytes) -> list[str]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + body).get_payload()
        named = {part.get_param("name", header="content-disposition"): part for part in parts}
        return [one["image_id"] for one in json.loads(named["metadata"].get_payload(decode=True))]

    def _taken(self, body: bytes) -> dict:
        ids = self._ids(body)
        self.server.stored += ids
        return self._report(body, "stored")

    def _refused(self, body: bytes) -> dict:
        return self._report(body, "refused")

    def _report(self, body: bytes, status: str) -> dict:
        problem = {"title": "Not for this key", "detail": "not this camera"} if status == "refused" else None
        items = [
            {"filename": str(number), "status": status, "image_id": name, "problem": problem}
            for number, name in enumerate(self._ids(body))
        ]
        return {"items": items}

    def log_message(self, *_: object) -> None:
        """Keep standard error for the agent's words."""


@pytest.fixture
def busy() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    server.script, server.asked, server.stored = [], [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def write_network(path: Path, answer: np.ndarray, kind: int = TensorProto.FLOAT) -> Path:
    """A network of one picture of 64 by 64 that gives the same answer for every one."""
    nodes = [
        helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["boxes", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "people",
        [helper.make_tensor_value_info("images", kind, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", kind, answer.shape)],
        [
            helper.make_tensor("boxes", kind, answer.shape, answer.ravel()),
            helper.make_tensor("zero", kind, (), [0.0]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def yolo() -> np.ndarray:
    """YOLO v8's form, (1, 4 + 1 class, N), with one person."""
    answer = np.zeros((1, 5, 100), np.float32)
    answer[0, :, 3] = BOX
    return answer


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "person.onnx", yolo())


@pytest.fixture
def watch(
    busy: ThreadingHTTPServer, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Watch:
    """Runs the agent over a folder of three frames, with a spool that outlasts the run."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (256, 256, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        os.utime(folder / f"{number}.png", (1_777_000_000 + number, 1_777_000_000 + number))

    def run(*more: str) -> tuple[int, dict]:
        line = ["watch", str(folder), "--camera", "gate", "--modality", "visible", "--once", "--json"]
        line += ["--detector", str(network), "--spool", str(tmp_path / "spool"), "--api-key", "peca_x"]
        line += ["--url", f"http://127.0.0.1:{busy.server_port}", *more]
        code = main(line)
        printed = capsys.readouterr()
        busy.messages = printed.err
        return code, json.loads(printed.out)

    return run


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_yolo_file_finds_people_where_they_are(tmp_path: Path, kind: int) -> None:
    pixels = np.zeros((256, 512, 3), np.uint8)
    file = write_network(tmp_path / "yolo.onnx", yolo(), kind)
    (found,) = open_detector(file, 0.5, None).detect(pixels)
    # The input is the frame at 1/8 with 16 pixels of border above: x 22..42, y 12..52 of 64.
    assert found.tolist() == pytest.approx([176, 0, 336, 256, 0.9], abs=1e-3)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_an_ssd_file_finds_people_where_they_are(tmp_path: Path, kind: int) -> None:
    """Image, class, score, and corners as shares of the frame; -1 ends the list."""
    answer = np.zeros((1, 1, 5, 7), np.float32)
    answer[0, 0, :4] = [
        (0, 1, 0.875, 0.25, 0.125, 0.5, 0.875),
        (0, 2, 0.75, 0.5, 0.0, 0.75, 0.5),
        (0, 1, 0.25, 0.0, 0.0, 0.5, 0.5),
        (-1, 1, 0.875, 0.0, 0.0, 0.5, 0.5),
    ]
    file, pixels = write_network(tmp_path / "ssd.onnx", answer, kind), np.zeros((256, 512, 3), np.uint8)
    assert open_detector(file, 0.5, None).detect(pixels).tolist() == [[128, 32, 256, 224, 0.875]]
    assert open_detector(file, 0.5, 2).detect(pixels).tolist() == [[256, 0, 384, 128, 0.75]]


RETAIL = REPOSITORY.parent / "shared/data/models/person-detection-retail-0013.xml"


def test_the_open_model_zoos_detector_finds_people_in_openvino_ir(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO IR needs `pip install openvino`")
    if not RETAIL.is_file():
        pytest.skip(f"needs {RETAIL}")
    agent_video.write_night_video(tmp_path / "night.avi", [2])
    video, detector = cv2.VideoCapture(str(tmp_path / "night.avi")), open_detector(RETAIL, 0.5, None)
    found = []
    for number in range(10):
        _, pixels = video.read()
        # The person of 100 by 200 pixels walks from 20 to 240 in ten frames, 30 below the upper edge.
        left = 20 + round(220 * number / 9)
        for box in detector.detect(np.asarray(pixels, np.uint8)):
            found.append(overlap(np.array([[left, 30, left + 100, 230]], np.float32), box[None, :4]).item())
    assert len(found) >= 8
    assert min(found) > 0.4


def test_a_file_of_openvino_without_its_weights_says_so(tmp_path: Path) -> None:
    (tmp_path / "person.xml").write_text("<net/>")
    with pytest.raises(WatchError, match=r"needs its weights beside it: there is no .*person\.bin"):
        open_detector(tmp_path / "person.xml", 0.5, None)


def test_what_openvino_says_is_told_without_where_in_its_code(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO IR needs `pip install openvino`")
    (tmp_path / "person.xml").write_text("<net>")
    (tmp_path / "person.bin").write_bytes(b"")
    with pytest.raises(WatchError, match="cannot be opened as a network: Unable to read the model"):
        open_detector(tmp_path / "person.xml", 0.5, None)


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (np.zeros((1, 5), np.float32), TensorProto.FLOAT, "export it as one of these"),
        (np.zeros((1, 5, 100), np.int32), TensorProto.INT32, "cannot be run on one picture"),
    ],
)
def test_a_network_that_does_not_fit_says_so_in_one_line(
    tmp_path: Path, answer: np.ndarray, kind: int, why: str
) -> None:
    with pytest.raises(WatchError, match=why) as refused:
        open_detector(write_network(tmp_path / "other.onnx", answer, kind), 0.5, None)
    assert "\n" not in str(refused.value)


def test_a_class_that_the_network_has_not_is_refused_at_the_start(network: Path) -> None:
    with pytest.raises(WatchError, match="has no class 7; --person-class"):
        open_detector(network, 0.5, 7)


def test_a_full_disk_ends_it_in_one_line(network: Path, tmp_path: Path) -> None:
    """No file may grow beyond 60 kB; the server is away, so that crops pile up."""
    agent_video.write_night_video(tmp_path / "night.avi", [2, 3])
    line = [sys.executable, "-m", "peca_client", "watch", str(tmp_path / "night.avi"), "--camera", "gate"]
    line += ["--modality", "infrared", "--detector", str(network), "--spool", str(tmp_path / "spool")]
    line += ["--min-height", "10", "--min-sharpness", "0", "--patience", "0"]
    line += ["--url", "http://127.0.0.1:9", "--api-key", "peca_none"]
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
    limit += "runpy.run_module('peca_client', run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", limit, *line[3:]], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    (said,) = [told for told in ended.stderr.splitlines() if "cannot be used" in told]
    assert "make room on its disk" in said


def test_crops_of_a_yolo_file_reach_the_server(watch: Watch, busy: ThreadingHTTPServer) -> None:
    code, told = watch()
    assert code == 0
    assert told["frames"] == told["people"] == 3
    assert len(busy.stored) == len(set(busy.stored)) == told["spooled"] == told["sent"]["stored"] > 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_gets_each_crop_once(watch: Watch, busy: ThreadingHTTPServer, status: int) -> None:
    busy.script[:] = [status, 200]
    code, told = watch()
    assert code == 0
    assert busy.asked[0] == status
    assert len(busy.stored) == len(set(busy.stored)) == told["spooled"] > 0
    assert told["waiting"] == 0


@pytest.mark.parametrize("status", [429, 503])
def test_what_a_busy_server_did_not_take_waits_for_the_next_run(
    watch: Watch, busy: ThreadingHTTPServer, status: int
) -> None:
    busy.script[:] = [status]
    code, told = watch("--patience", "0.3")
    assert code == 3
    assert busy.stored == []
    assert told["waiting"] == told["spooled"] > 0
    busy.script[:] = [200]
    code, after = watch()
    assert (code, after["frames"], after["waiting"]) == (0, 0, 0)
    assert len(busy.stored) == len(set(busy.stored)) == told["spooled"]


def test_refused_crops_are_kept_and_sent_again_when_asked(watch: Watch, busy: ThreadingHTTPServer) -> None:
    busy.script[:] = ["refused"]
    code, told = watch()
    assert code == 4
    assert told["refused"] == told["spooled"] > 0
    busy.script[:] = [200]
    assert watch()[0] == 4
    assert busy.stored == []
    code, told = watch("--retry-refused")
    assert (code, told["refused"]) == (0, 0)
    assert len(busy.stored) == len(set(busy.stored)) > 0


def test_an_outage_that_becomes_a_refusal_is_told_again(watch: Watch, busy: ThreadingHTTPServer) -> None:
    busy.script[:] = [503, 503, 403]
    code, told = watch()
    assert code == 1
    assert told["waiting"] == told["spooled"] > 0
    assert busy.messages.count("not sent: 503") == 1
    assert busy.messages.count("not sent: 403") == 1
