"""The committed OpenAPI document is the one that the code makes."""

import json
import re
from pathlib import Path

from server.openapi import document_text
from server.problems import HTTP_KINDS, INVALID_METADATA, KINDS, UNKNOWN_MODALITY

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_committed_document_is_current() -> None:
    committed = (DOCS / "openapi.json").read_text(encoding="utf-8")
    assert committed == document_text(), "run: python -m server.openapi > docs/openapi.json"


def test_errors_are_described_as_problems() -> None:
    document = json.loads(document_text())
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]


def test_every_route_and_problem_stands_in_the_docs() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for path, item in json.loads(document_text())["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in text
    kinds = {*KINDS.values(), *HTTP_KINDS.values(), UNKNOWN_MODALITY, INVALID_METADATA}
    described = {
        (slug, int(status))
        for slug, status in re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", text, re.MULTILINE)
    }
    assert described == {(kind.slug, kind.status) for kind in kinds}
