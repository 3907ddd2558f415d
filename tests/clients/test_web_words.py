"""The dashboard's files, as they stand on the disk: small, of this host alone, in two languages."""

import gzip
import re
import tomllib
from pathlib import Path

import pytest

from server import problems
from server.audit import Action
from server.problems import HTTP_KINDS, KINDS, Kind
from server.web import FOLDER

REPOSITORY = Path(__file__).resolve().parents[2]
WEB = REPOSITORY / "clients" / "web"
MOST_BYTES = 110_000
FILES = sorted(path for path in WEB.rglob("*") if path.is_file())
SENT = [path for path in FILES if path.name != "LICENSE"]
SCRIPTS = [path for path in FILES if path.suffix == ".js"]


def test_the_server_finds_the_folder_that_is_packaged() -> None:
    assert FOLDER == WEB
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]["clients"]
    packaged = {
        path for pattern in patterns for path in (REPOSITORY / "clients").glob(pattern) if path.is_file()
    }
    assert set(FILES) <= packaged


def test_the_page_is_small() -> None:
    """All views and both languages, as they go over the wire."""
    packed = sum(min(path.stat().st_size, len(gzip.compress(path.read_bytes()))) for path in SENT)
    assert packed < MOST_BYTES


@pytest.mark.parametrize(
    "path", [path for path in SENT if path.suffix != ".woff2"], ids=lambda path: path.name
)
def test_the_page_asks_no_other_host_and_makes_no_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
    assert not hosts
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in text
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", text)


def words(language: str) -> dict[str, str]:
    """{key: its words} of a dictionary; one key a line."""
    text = (WEB / "lang" / f"{language}.js").read_text(encoding="utf-8")
    pairs = re.findall(r'^  (?:"([^"]+)"|(\w+)): (.+),$', text, re.MULTILINE)
    keys = [quoted or bare for quoted, bare, _ in pairs]
    assert len(keys) == len(set(keys))
    return dict(zip(keys, (value for _, _, value in pairs), strict=True))


def test_both_languages_say_the_same_things() -> None:
    english, chinese = words("en"), words("zh")
    assert len(english) > 200
    assert english.keys() == chinese.keys()
    for key, value in english.items():
        named = set(re.findall(r"\{(\w+)\}", value))
        assert named == set(re.findall(r"\{(\w+)\}", chinese[key])), key
    same = {key for key in english if english[key] == chinese[key]}
    assert not same


def test_every_problem_of_the_server_has_words_in_both_languages() -> None:
    kinds = [*KINDS.values(), *HTTP_KINDS.values(), *vars(problems).values()]
    slugs = {f"problem.{kind.slug}" for kind in kinds if isinstance(kind, Kind)}
    assert len(slugs) > 40
    assert not slugs - words("en").keys()
    assert not slugs - words("zh").keys()


def test_every_action_of_the_log_can_be_chosen_and_has_words() -> None:
    text = (WEB / "views" / "audit.js").read_text(encoding="utf-8")
    chosen = re.findall(r'"(\w+)"', re.findall(r"^const ACTIONS = \[(.*)\];$", text, re.MULTILINE)[0])
    assert sorted(chosen) == sorted(Action)
    assert {f"audit.is.{action}" for action in Action} <= words("en").keys()


def test_every_word_that_the_page_uses_is_there_and_none_is_idle() -> None:
    known = words("en").keys()
    text = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS if path.parent.name != "lang")
    used = set(re.findall(r'\bt\(\s*"([^"]+)"', text))
    assert used - known == set()
    # A key may be put together: `verdict.${name}`, or stand in a table of words.
    made = tuple(prefix for prefix in re.findall(r"[`\"]([\w.-]+\.)\$\{", text))
    spoken = set(re.findall(r'"([\w.-]+)"', text)) | set(re.findall(r"\b(\w+):", text))
    idle = {key for key in known if key not in spoken and not key.startswith(made)}
    assert not idle


def imported(start: Path) -> set[Path]:
    """A module and all that it imports from the start."""
    found: set[Path] = set()
    pending = [start]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            text = path.read_text(encoding="utf-8")
            named = re.findall(r'^import (?:[^"]* )?"([^"]+)";', text, re.MULTILINE)
            pending += [(path.parent / name).resolve() for name in named]
    return found


def test_the_page_names_at_once_every_module_of_its_first_view() -> None:
    page = (WEB / "index.html").read_text(encoding="utf-8")
    named = {WEB / name for name in re.findall(r'rel="modulepreload" href="web/([^"]+)"', page)}
    assert named == imported(WEB / "app.js") | imported(WEB / "views" / "search.js")
