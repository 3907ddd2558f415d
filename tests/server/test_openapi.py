"""The committed OpenAPI document is the one that the code makes."""

import json
from pathlib import Path

from server.openapi import document_text

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
