"""The dashboard's files: read once from the folder beside this package, served at ``/`` and ``/web/``."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

# Found on the disk: the server does not import what stands above it.
FOLDER = Path(__file__).resolve().parents[1] / "clients" / "web"
PAGE = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
HEADERS = {
    # Images of the page's own making (a picked query, a drawn box) are blobs; all else is this server's.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    # Kept, and asked for anew each time: after an update nobody works with an older page.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
_LEAST_GAIN = 0.9


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page, as it is sent.

    Attributes:
        data: Its bytes.
        packed: Its bytes by gzip; ``None`` where that gains little.
        media_type: With its character set.
        etag: Names this content, packed or not.
    """

    data: bytes
    packed: bytes | None
    media_type: str
    etag: str


def web_router(folder: Path = FOLDER) -> APIRouter:
    """The routes of the page; they need no key, since the files tell nothing of the gallery.

    Args:
        folder: Of the files; without it the server has no page, and the routes answer 404.
    """
    files = _files(folder)
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    def page(request: Request) -> Response:
        """The page itself."""
        return _answer(request, files.get(PAGE))

    @router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
    def page_file(request: Request, name: str) -> Response:
        """A file that the page loads."""
        return _answer(request, files.get(name))

    return router


@cache
def _files(folder: Path) -> dict[str, PageFile]:
    """Packing takes a while, and a process needs it once."""
    return dict(_read(folder))


def _read(folder: Path) -> Iterator[tuple[str, PageFile]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in MEDIA_TYPES:
            data = path.read_bytes()
            packed = gzip.compress(data, mtime=0)
            yield (
                path.relative_to(folder).as_posix(),
                PageFile(
                    data,
                    packed if len(packed) < _LEAST_GAIN * len(data) else None,
                    MEDIA_TYPES[path.suffix],
                    f'W/"{hashlib.sha256(data).hexdigest()[:32]}"',
                ),
            )


def _answer(request: Request, file: PageFile | None) -> Response:
    if file is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": file.etag}
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(file.packed, headers=headers, media_type=file.media_type)
    return Response(file.data, headers=headers, media_type=file.media_type)
