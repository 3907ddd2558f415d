"""The documents name what there is: commands, routes, problems, settings, and the modules of the plan."""

import inspect
import json
import re
from pathlib import Path

import pytest
import typer

from clients.cli import app
from server.openapi import document_text
from server.problems import HTTP_KINDS, INVALID_METADATA, KINDS, UNKNOWN_MODALITY
from server.settings import Settings
from training.losses.objective import TERMS
from training.recipe import load_recipe, recipe_names

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


def test_every_route_and_problem_stands_in_the_docs() -> None:
    text = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    for path, item in json.loads(document_text())["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in text
    kinds = {*KINDS.values(), *HTTP_KINDS.values(), UNKNOWN_MODALITY, INVALID_METADATA}
    described = {
        (slug, int(status))
        for slug, status in re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", text, re.MULTILINE)
    }
    assert described == {(kind.slug, kind.status) for kind in kinds}


def commands() -> list[tuple[str, list[str]]]:
    """Every command with its options, as a user types them."""
    found = []
    pending = [("peca", typer.main.get_command(app))]
    while pending:
        name, command = pending.pop()
        pending += [(f"{name} {sub}", child) for sub, child in getattr(command, "commands", {}).items()]
        options = [text for one in command.params for text in one.opts if text.startswith("--")]
        found.append((name, options))
    return found


@pytest.mark.parametrize(("command", "options"), commands(), ids=[name for name, _ in commands()])
def test_the_docs_name_it(command: str, options: list[str]) -> None:
    sections = (REPOSITORY / "docs/commands.md").read_text().split("\n## ")
    section = next((text for text in sections if text.startswith(f"`{command}`\n")), None)
    assert section is not None, f"docs/commands.md has no section `{command}`"
    missing = [option for option in options if f"`{option}" not in section and "completion" not in option]
    assert not missing


def test_the_recipes_and_loss_terms_stand_in_the_docs_with_their_weights() -> None:
    text = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")
    for name in recipe_names():
        row = next(line for line in text.splitlines() if line.startswith("| `") and f"`{name}`" in line)
        if "+" not in name:
            for term, settings in load_recipe(name).losses.items():
                assert f"{term} {settings['weight']:g}" in row
    for name, term in TERMS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        settings = set(inspect.signature(term).parameters) - {"dim", "args", "kwargs"}
        assert all(f"`{setting}`" in row for setting in settings)
