"""The OpenAPI document: every operation with its problems; ``python -m server.openapi`` prints it."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from server.auth import SECURITY_SCHEMES
from server.headers import SecurityHeaders
from server.problems import MEDIA_TYPE
from server.request_log import RequestLog
from server.schemas import Problem

_REPLACED_SCHEMAS = ("HTTPValidationError", "ValidationError")
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_PROBLEM_ANSWER = {
    "description": "A problem (RFC 9457); its `type` names the kind.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class DescribedApp(FastAPI):
    """A FastAPI application whose document says that errors are problems, and whose answers are guarded."""

    def build_middleware_stack(self) -> ASGIApp:
        """The application behind headers and log, which also cover the answers to failures."""
        return RequestLog(SecurityHeaders(super().build_middleware_stack()))

    def openapi(self) -> dict[str, Any]:
        """The document; FastAPI's own validation answer is replaced, since it is never sent."""
        document = deepcopy(super().openapi())
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM_ANSWER
                for parameter in operation.get("parameters", ()):
                    parameter["schema"] = _without_null(parameter["schema"])
        schemas = document["components"]["schemas"]
        _name_forms(document, schemas)
        for form in _forms(document):
            form["properties"] = {name: _without_null(one) for name, one in form["properties"].items()}
            form["additionalProperties"] = False  # as server.routes.forms sees to
        for name in _REPLACED_SCHEMAS:
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
        return document


def _forms(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of all forms."""
    for content in _form_contents(document):
        yield document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]


def _form_contents(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What operations say of their forms."""
    for path in document["paths"].values():
        for operation in path.values():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if kind in _FORMS:
                    yield content


def _name_forms(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Put the forms that ``server.routes.forms.described`` left inline among the named schemas."""
    for content in _form_contents(document):
        schema = content["schema"]
        if "$ref" not in schema:
            schemas |= schema.pop("$defs", {})
            schemas[schema["title"]] = schema
            content["schema"] = {"$ref": f"#/components/schemas/{schema['title']}"}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's or form field's schema as it can be sent: it may be left out, and never be null."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf" and value is not None}
    return {**choices[0], **rest}


def document_text() -> str:
    """The document as it stands in ``docs/openapi.json``; the same wherever it is made."""
    from server.app import create_app
    from server.settings import Settings

    return json.dumps(create_app(Settings()).openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(document_text(), end="")
