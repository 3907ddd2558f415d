"""A search as a picture: the query pinned at the left, what was found for it beside, best first."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps

from clients.lettering import drawable, width
from clients.sheet import CAPTION, Cell, Frame, Section, save_sheet
from index.errors import InvalidInput
from peca_client import Hit, NotFound, PecaClient, SearchResult

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_CELL_HW = (240, 120)
_COLUMNS = 8
_AT_ONCE = 8


def check_sheet_path(path: Path) -> None:
    """Find out before the search whether its picture can be written.

    Raises:
        InvalidInput: The ending is that of no picture, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"--show expects a file that ends in {', '.join(SUFFIXES)}; got {path}")
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"--show expects a folder that exists; there is no {path.absolute().parent}")


def save_search(
    path: Path, client: PecaClient, result: SearchResult, images: Sequence[Path], image_id: str | None
) -> None:
    """Draw a search and save it.

    Args:
        path: The file to write; its ending says the format.
        client: Fetches the thumbnails.
        result: The answer.
        images: The crops that were searched by.
        image_id: The stored image that was searched by, in place of crops.
    """
    queries, person_id = _query_crops(images, result) if image_id is None else _query_stored(client, image_id)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        pictures = pool.map(partial(_thumbnail, client), [hit.image_id for hit in result.items])
        found = [_match(hit, image, person_id) for hit, image in zip(result.items, pictures, strict=True)]
    strips = [found[start : start + _COLUMNS] for start in range(0, len(found), _COLUMNS)]
    rows = [
        [
            queries[number] if number < len(queries) else None,
            *(strips[number] if number < len(strips) else []),
        ]
        for number in range(max(len(queries), len(strips)))
    ]
    save_sheet(path, [Section(_title(result), rows, _note(result, person_id))], _CELL_HW)


def _query_crops(images: Sequence[Path], result: SearchResult) -> tuple[list[Cell], None]:
    cells = []
    for path, light in zip(images, result.query_modalities, strict=True):
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            judged = " (judged)" if light.detected else ""
            cells.append(
                Cell(
                    upright.convert("RGB"),
                    _lines("query", f"{light.modality}{judged}", path.name),
                    Frame.QUERY,
                )
            )
    return cells, None


def _query_stored(client: PecaClient, image_id: str) -> tuple[list[Cell], str | None]:
    """The stored image, and the person that its label names."""
    stored = client.image(image_id)
    caption = _lines("query", str(stored.modality), stored.camera_id, *_local(stored.captured_at))
    return [Cell(_thumbnail(client, image_id), caption, Frame.QUERY)], stored.person_id


def _match(hit: Hit, image: Image.Image | None, person_id: str | None) -> Cell:
    person = [hit.person_id] if hit.person_id is not None else []
    track = [f"{hit.group_size} images of the track"] if hit.group_size > 1 else []
    caption = _lines(
        f"{hit.rank}.  {hit.score:.3f}", hit.camera_id, *_local(hit.captured_at), *person, *track
    )
    same = person_id is not None and hit.person_id == person_id
    return Cell(image, caption, Frame.SAME if same else Frame.OTHER, hit.score)


def _thumbnail(client: PecaClient, image_id: str) -> Image.Image | None:
    """``None`` where it is gone since the search, or its file is: the others are worth their sheet."""
    try:
        data = client.thumbnail(image_id)
    except NotFound:
        return None
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _local(moment: datetime) -> tuple[str, str]:
    """Date and time on this machine's clock, with the offset that it had then."""
    local = moment.astimezone()
    date, time = local.isoformat(timespec="seconds").split("T")
    return date, f"{time[:8]} {time[8:]}"


def _lines(*texts: str) -> str:
    return "\n".join(map(_shortened, texts))


def _shortened(text: str) -> str:
    """A line that is no wider than a picture; its middle goes, since names differ at their ends."""
    text = drawable(text, CAPTION)
    if width(text, CAPTION) <= _CELL_HW[1]:
        return text
    kept = len(text) - 1
    while width(_without_middle(text, kept), CAPTION) > _CELL_HW[1]:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: -(-kept // 2)]}…{text[len(text) - kept // 2 :]}"


def _title(result: SearchResult) -> str:
    if not result.items:
        return f"Nothing found in {result.gallery_modality} images"
    order = ", ordered by shared neighbours" if result.reranked else ", best first"
    return f"{len(result.items)} found in {result.gallery_modality} images{order}"


def _note(result: SearchResult, person_id: str | None) -> str:
    framed = person_id is not None and any(hit.person_id == person_id for hit in result.items)
    green = "Green frame: labelled as the person of the query. " if framed else ""
    return f"{green}A score is a cosine similarity and no identification. Search {result.search_id}"
