"""The server runs where torch is not: a fresh process that cannot import it serves an ingest and a search."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

IMPORT = """
import sys
from server.app import create_app
from server.settings import Settings
create_app(Settings())
torch = [name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision")]
assert not torch, torch
"""

SERVE = """
import sys
sys.modules["torch"] = sys.modules["torchvision"] = None  # importing them raises ImportError from here on
import asyncio, io, json, pathlib
import httpx
from PIL import Image
from exporter.runtime import GreyPixelEncoder
from server.app import create_app
from server.keys import open_keys
from server.settings import Settings

SAID = {"filename": "a", "camera_id": "c", "modality": "infrared", "captured_at": "2026-01-01T00:00:00Z"}

async def main(data):
    settings = Settings(gallery=f"embedded:{data}")
    headers = {"X-API-Key": open_keys(settings.data_folder)[1]}
    app = create_app(settings, encoder=GreyPixelEncoder())
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    image = ("a", file.getvalue())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://peca", headers=headers)
    async with app.router.lifespan_context(app), client as http:
        stored = await http.post("/images", files={"images": image}, data={"metadata": json.dumps([SAID])})
        assert stored.status_code == 201, stored.text
        found = await http.post("/search", files={"image": image}, data={"query_modality": "visible"})
        assert len(found.json()["items"]) == 1, found.text

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def run(code: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_making_the_app_imports_no_torch() -> None:
    run(IMPORT)


def test_it_serves_without_torch(tmp_path: Path) -> None:
    run(SERVE, str(tmp_path / "data"))
