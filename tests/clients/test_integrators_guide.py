"""The guide for integrators: its examples run as they stand, in their order, against a real server."""

import hashlib
import hmac
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client_site import NIGHT, REPOSITORY, Server, picture

from peca_client import ImageUpload, PecaClient

GUIDE = REPOSITORY / "docs/integrators.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def shell(lines: str) -> str:
    """What lines print, once each of them has ended well."""
    command = f'set -e\npeca-client() {{ {sys.executable} -m peca_client "$@"; }}\n{lines}'
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_its_examples_run(
    fresh_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PECA_URL", fresh_server.url)
    monkeypatch.setenv("PECA_API_KEY", fresh_server.key)
    # Checked when the watchlist is made, and never called, since nothing is stored after that.
    monkeypatch.setenv("DESK_URL", "https://1.1.1.1/peca")
    monkeypatch.chdir(tmp_path)
    for name, person in (("night.jpg", 1), ("night2.jpg", 2), ("day.jpg", 1)):
        Path(name).write_bytes(picture(person))
    with PecaClient(fresh_server.url, fresh_server.key) as client:
        client.add_images([ImageUpload(picture(3), "hall-ir", "infrared", NIGHT, "first")])
    curl, curl_images, commands = blocks("sh")
    assert '"image_id":"first"' in shell(curl).replace(" ", "")
    names: dict[str, object] = {}
    examples = blocks("python")
    assert len(examples) == 6
    for example in examples:
        exec(compile(example, GUIDE.name, "exec"), names)
    assert capsys.readouterr().out.splitlines() == [
        "['hall-ir'] True",
        "['first']",
        "2 stored 0 known before",
        "gate-ir-0815 2",
        "2 sent",
        "2 stored",
        "404 urn:peca:problem:image-unknown",
        "2 images by gate-ir",
        "[]",
    ]
    assert '"stored":1' in shell(curl_images).replace(" ", "")
    printed = shell(commands)
    assert "gate-ir-0815" in printed
    assert '"name": "red coat"' in printed
    assert "camera key of gate ir importer (shown once): peca_" in printed
    assert printed.rstrip().endswith("of gate ir importer")
    secret, body, stamp = str(names["secret"]), b'{"event_id":1}', str(int(time.time()))
    signature = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"PECA-Timestamp": stamp, "PECA-Signature": f"v1={signature}"}
    is_genuine = names["is_genuine"]
    assert is_genuine(secret, headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine(secret, {**headers, "PECA-Timestamp": "1777000000"}, body)
