"""The OpenAPI document: every operation with its problems; ``python -m server.openapi`` prints it."""

import json
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from server.headers import SecurityHeaders
from server.problems import MEDIA_TYPE
from server.schemas import Problem

_REPLACED_SCHEMAS = ("HTTPValidationError", "ValidationError")
_PROBLEM_ANSWER = {
    "description": "A problem (RFC 9457); its `type` names the kind.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class DescribedApp(FastAPI):
    """A FastAPI application whose document says that errors are problems, and whose answers are guarded."""

    def build_middleware_stack(self) -> ASGIApp:
        """The application behind the security headers, which also cover the answers to failures."""
        return SecurityHeaders(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        """The document; FastAPI's own validation answer is replaced, since it is never sent."""
        document = deepcopy(super().openapi())
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM_ANSWER
        schemas = document["components"]["schemas"]
        for name in _REPLACED_SCHEMAS:
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        return document


def document_text() -> str:
    """The document as it stands in ``docs/openapi.json``; the same wherever it is made."""
    from server.app import create_app
    from server.settings import Settings

    return json.dumps(create_app(Settings()).openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(document_text(), end="")
