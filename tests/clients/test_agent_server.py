"""The camera agent before a network of one's own, and before a server that is busy, away, or says no."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from peca_client.__main__ import main
from peca_client.watch.detectors import open_detector

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


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network in YOLO v8's form, (1, 4 + 1 class, N), that finds the same person in every picture."""
    output = np.zeros((1, 5, 100), np.float32)
    output[0, :, 3] = BOX
    nodes = [
        helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["boxes", "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 100])],
        [
            helper.make_tensor("boxes", TensorProto.FLOAT, output.shape, output.ravel()),
            helper.make_tensor("zero", TensorProto.FLOAT, (), [0.0]),
        ],
    )
    path = tmp_path / "person.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


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
        return code, json.loads(capsys.readouterr().out)

    return run


def test_a_yolo_file_finds_people_where_they_are(network: Path) -> None:
    pixels = np.zeros((256, 512, 3), np.uint8)
    (found,) = open_detector(network, 0.5, None).detect(pixels)
    # The input is the frame at 1/8 with 16 pixels of border above: x 22..42, y 12..52 of 64.
    assert found.tolist() == pytest.approx([176, 0, 336, 256, 0.9])


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
