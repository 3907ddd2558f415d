"""The documents name what there is: every setting, and every module of the plan."""

import re
from pathlib import Path

import pytest

from server.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_each_setting_stands_in_the_docs(name):
    text = (REPOSITORY / "docs/settings.md").read_text(encoding="utf-8")
    assert f"| `{name}` | `PECA_{name.upper()}` |" in text


def test_no_setting_stands_in_the_docs_alone():
    text = (REPOSITORY / "docs/settings.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_]+)` \| `PECA_", text, re.MULTILINE)) == set(Settings.model_fields)


def test_the_plan_names_only_what_exists():
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    named = []
    for path in re.findall(r"`((?:index|exporter|training|server|clients)/[^`\s]*)`", table):
        stem, brace, rest = path.partition("{")
        choices, _, tail = rest.partition("}")
        named += [f"{stem}{one}{tail}" for one in choices.split(",")] if brace else [path]
    assert len(named) > 25
    assert not [path for path in named if not list(REPOSITORY.glob(path.rstrip("/")))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (document.parent / target).exists(), target
