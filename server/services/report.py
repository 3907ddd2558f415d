"""Searches as a page for people, to be printed or kept in a case's file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Protocol

from server.chain import Record
from server.services.review import superseded

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --muted: #5d6671; --line: #d9dee4; --soft: #f5f7f9; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 62rem; margin: 2.5rem auto;
  padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
p.note { color: var(--muted); margin: 0 0 1rem; }
dl + dl { margin-top: .9rem; }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: .3rem 1rem; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13px/1.5 ui-monospace, monospace; }
ol { list-style: none; margin: 0; padding: 0; }
li.result { display: grid; grid-template-columns: 8rem 1fr; gap: 1.25rem; padding: 1rem 0;
  border-top: 1px solid var(--line); break-inside: avoid; }
li.result img, .gone { width: 8rem; max-height: 16rem; object-fit: contain; background: var(--soft);
  border: 1px solid var(--line); border-radius: 4px; display: block; }
.gone { color: var(--muted); font-size: 13px; padding: 1rem .5rem; text-align: center; }
.rank { font-weight: 600; margin: 0 0 .4rem; }
table { border-collapse: collapse; width: 100%; margin-top: .75rem; font-size: 14px; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--muted); font-weight: 500; }
table img { width: 3.5rem; max-height: 7rem; object-fit: contain; background: var(--soft); display: block; }
h2.search { border-top: 3px solid var(--line); padding-top: 1.25rem; }
tr.old { color: var(--muted); text-decoration: line-through; }
"""
_SHOWN = {
    "search_id": "Search",
    "case": "Case",
    "reason": "Reason",
    "key": "Asked by",
    "began_at": "Began (UTC)",
    "ended_at": "Ended (UTC)",
    "gallery_name": "Gallery",
    "gallery": "Its address",
    "encoder": "Encoder",
    "limit": "Most results",
    "score_threshold": "Lowest score",
    "group_by": "One result of each",
    "rerank": "Ordered by neighbours",
}
_FILTERS = {
    "modality": "Searched in",
    "camera_ids": "Only cameras",
    "exclude_camera_ids": "Without cameras",
    "after": "Captured from (UTC)",
    "before": "Captured before (UTC)",
}
_INSTANTS = frozenset({"began_at", "ended_at", "after", "before"})


class Picture(Protocol):
    """A result's picture beside the page."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def thumbnail(self) -> str:
        """Name of its small JPEG."""

    @property
    def sha256(self) -> str:
        """Of the file."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A verdict, by which search of this page it was given, and whether a later one there supersedes it."""

    verdict: Record
    search: int
    old: bool


def report_html(
    searches: Sequence[Record],
    verdicts: Sequence[Record],
    pictures: Mapping[str, Picture],
    exported_by: str,
    exported_at: datetime,
) -> str:
    """The page; it needs nothing but the pictures beside it, and holds no script.

    Args:
        searches: Their records, as they stand in the audit log.
        verdicts: On their results, of each search oldest first.
        pictures: By ``image_id``; a result that is not among them was removed since.
        exported_by: Whose copy it is.
        exported_at: When it was made.
    """
    told = [one for number, record in enumerate(searches, start=1) for one in _told(number, record, verdicts)]
    several = len(searches) > 1
    title = f"Report of {len(searches)} searches" if several else "Report of a search"
    copy = f"Copy made for {exported_by} at {_moment(exported_at.isoformat())} UTC."
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Search {_text(searches[0]['search_id'])}</title>\n<style>{_STYLE}</style>",
            f"<h1>{title}</h1>",
            '<p class="note">A score is a cosine similarity: it ranks, it does not identify. '
            f"{_text(copy)}</p>",
            *_confirmed(searches, pictures, told),
            *(
                part
                for number, record in enumerate(searches, start=1)
                for part in _search(number, record, pictures, told, several)
            ),
            "</html>\n",
        ]
    )


def _told(number: int, record: Record, verdicts: Sequence[Record]) -> list[_Told]:
    own = [one for one in verdicts if one["search_id"] == record["search_id"]]
    return [_Told(one, number, old) for one, old in zip(own, superseded(own), strict=True)]


def _confirmed(
    searches: Sequence[Record], pictures: Mapping[str, Picture], told: Sequence[_Told]
) -> list[str]:
    """Where and when the person was, as far as somebody confirms it."""
    standing = [one for one in told if not one.old]
    wanted = {one.verdict["image_id"] for one in standing if one.verdict["verdict"] == "confirmed"}
    # Of an image that several searches showed, the first.
    shown = {one["image_id"]: one for record in reversed(searches) for one in record["results"]}
    found = sorted((shown[image_id] for image_id in wanted), key=lambda one: one.get("captured_at") or "~")
    if not found:
        return []
    rows = [_sighting(one, pictures.get(one["image_id"]), standing) for one in found]
    heads = "".join(f"<th>{name}</th>" for name in ("Captured (UTC)", "Camera", "Picture", "Verdicts"))
    return ["<h2>Confirmed: where and when</h2>", f"<table><tr>{heads}</tr>{''.join(rows)}</table>"]


def _sighting(result: Record, picture: Picture | None, standing: Sequence[_Told]) -> str:
    said = [
        f"{one.verdict['verdict']} by {one.verdict.get('key')}, {_moment(one.verdict['ended_at'])}"
        for one in standing
        if one.verdict["image_id"] == result["image_id"]
    ]
    cells = (
        _text(_captured(result)),
        _text(result.get("camera_id")),
        "removed since" if picture is None else _linked(picture, f"Image {result['image_id']}"),
        "<br>".join(map(_text, said)),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _search(
    number: int,
    record: Record,
    pictures: Mapping[str, Picture],
    told: Sequence[_Told],
    several: bool,
) -> list[str]:
    about = {**_named(record, _SHOWN), **_named(record.get("filters", {}), _FILTERS)}
    queries = record.get("queries") or [
        {"sha256": record.get("query_sha256"), "modality": record.get("query_modality")}
    ]
    results = [
        _result(rank, result, pictures.get(result["image_id"]), told, several)
        for rank, result in enumerate(record["results"], start=1)
    ]
    return [
        f'<h2 class="search">Search {number}</h2>' if several else "",
        _facts(about),
        "<h2>Searched with</h2>",
        *(_facts(_query(query)) for query in queries),
        f"<h2>Results shown: {len(results)}</h2>",
        f"<ol>{''.join(results)}</ol>",
        "<h2>Where it stands in the audit log</h2>",
        _facts(_place(record)),
    ]


def _result(rank: int, result: Record, picture: Picture | None, told: Sequence[_Told], several: bool) -> str:
    image_id = result["image_id"]
    facts = {
        "Image": image_id,
        "Camera": result.get("camera_id"),
        "Captured (UTC)": _captured(result),
    }
    if result.get("group_size", 1) > 1:
        facts["Images of its track"] = result["group_size"]
    if picture is None:
        shown = '<div class="gone">removed from the gallery since</div>'
    else:
        facts["SHA-256 of the file"] = picture.sha256
        shown = _linked(picture, f"Result {rank}")
    rows = "".join(_verdict(one, several) for one in told if one.verdict["image_id"] == image_id)
    names = ("Verdict", "By", "At (UTC)", "Note", *(("In search",) if several else ()))
    heads = "".join(f"<th>{name}</th>" for name in names)
    table = f"<table><tr>{heads}</tr>{rows}</table>" if rows else ""
    heading = f'<p class="rank">Rank {rank}, score {result["score"]:.4f}</p>'
    return f'<li class="result"><div>{shown}</div><div>{heading}{_facts(facts)}{table}</div></li>'


def _linked(picture: Picture, words: str) -> str:
    small = f'<img src="{_text(picture.thumbnail)}" alt="{_text(words)}">'
    return f'<a href="{_text(picture.file)}">{small}</a>'


def _verdict(told: _Told, several: bool) -> str:
    one = told.verdict
    cells = (one["verdict"], one.get("key"), _moment(one["ended_at"]), one.get("note"))
    row = "".join(f"<td>{_text(cell)}</td>" for cell in (*cells, *((told.search,) if several else ())))
    return f'<tr class="old">{row}</tr>' if told.old else f"<tr>{row}</tr>"


def _captured(result: Record) -> str:
    """When a result was captured; earlier versions did not record it."""
    return _moment(result["captured_at"]) if "captured_at" in result else "not recorded"


def _query(query: Record) -> dict[str, object]:
    """What is told of a query image."""
    light = query.get("modality")
    if query.get("detected"):
        light = f"{light}, judged by content ({query.get('confidence')})"
    facts = {"Light": light, "SHA-256 of the file": query.get("sha256"), "Image": query.get("image_id")}
    return {name: value for name, value in facts.items() if value is not None}


def _place(record: Record) -> dict[str, object]:
    if "sequence" not in record:
        return {"Record": "written before the log had a chain"}
    return {
        "Record": record["sequence"],
        "SHA-256": record["sha256"],
        "SHA-256 of the record before": record["previous_sha256"],
    }


def _named(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    """Those of ``values`` that were given, by their names for people."""
    return {
        words: _moment(str(values[name])) if name in _INSTANTS else values[name]
        for name, words in names.items()
        if values.get(name) not in (None, "", False)
    }


def _facts(facts: Mapping[str, object]) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _text(value: object) -> str:
    """``value`` for people, safe inside a page."""
    if value is None:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, list):
        return escape(", ".join(map(str, value)))
    return escape(str(value))


def _moment(text: str) -> str:
    """An instant in UTC without its fractions."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"
