"""A search as a page for people, to be printed or kept in a case's file."""

from collections.abc import Mapping, Sequence
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
tr.old { color: var(--muted); text-decoration: line-through; }
"""
_SHOWN = {
    "search_id": "Search",
    "case": "Case",
    "reason": "Reason",
    "key": "Asked by",
    "began_at": "Began (UTC)",
    "ended_at": "Ended (UTC)",
    "gallery": "Gallery",
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


def report_html(
    record: Record,
    verdicts: Sequence[Record],
    pictures: Mapping[str, Picture],
    exported_by: str,
    exported_at: datetime,
) -> str:
    """The page; it needs nothing but the pictures beside it, and holds no script.

    Args:
        record: Of the search, as it stands in the audit log.
        verdicts: On its results, oldest first.
        pictures: By ``image_id``; a result that is not among them was removed since.
        exported_by: Whose copy it is.
        exported_at: When it was made.
    """
    about = {**_named(record, _SHOWN), **_named(record.get("filters", {}), _FILTERS)}
    queries = record.get("queries") or [
        {"sha256": record.get("query_sha256"), "modality": record.get("query_modality")}
    ]
    told = list(zip(verdicts, superseded(list(verdicts)), strict=True))
    results = [
        _result(rank, result, pictures.get(result["image_id"]), told)
        for rank, result in enumerate(record["results"], start=1)
    ]
    copy = f"Copy made for {exported_by} at {_moment(exported_at.isoformat())} UTC."
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Search {_text(record['search_id'])}</title>\n<style>{_STYLE}</style>",
            "<h1>Report of a search</h1>",
            '<p class="note">A score is a cosine similarity: it ranks, it does not identify. '
            f"{_text(copy)}</p>",
            _facts(about),
            "<h2>Searched with</h2>",
            *(_facts(_query(query)) for query in queries),
            f"<h2>Results shown: {len(results)}</h2>",
            f"<ol>{''.join(results)}</ol>",
            "<h2>Where it stands in the audit log</h2>",
            _facts(_place(record)),
            "</html>\n",
        ]
    )


def _result(rank: int, result: Record, picture: Picture | None, told: Sequence[tuple[Record, bool]]) -> str:
    image_id = result["image_id"]
    facts = {"Image": image_id, "Camera": result.get("camera_id")}
    if result.get("group_size", 1) > 1:
        facts["Images of its track"] = result["group_size"]
    if picture is None:
        shown = '<div class="gone">removed from the gallery since</div>'
    else:
        facts["SHA-256 of the file"] = picture.sha256
        shown = (
            f'<a href="{_text(picture.file)}"><img src="{_text(picture.thumbnail)}" alt="Result {rank}"></a>'
        )
    rows = "".join(_verdict(one, old) for one, old in told if one["image_id"] == image_id)
    table = (
        f"<table><tr><th>Verdict</th><th>By</th><th>At (UTC)</th><th>Note</th></tr>{rows}</table>"
        if rows
        else ""
    )
    heading = f'<p class="rank">Rank {rank}, score {result["score"]:.4f}</p>'
    return f'<li class="result"><div>{shown}</div><div>{heading}{_facts(facts)}{table}</div></li>'


def _verdict(one: Record, old: bool) -> str:
    cells = (one["verdict"], one.get("key"), _moment(one["ended_at"]), one.get("note"))
    row = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
    return f'<tr class="old">{row}</tr>' if old else f"<tr>{row}</tr>"


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
