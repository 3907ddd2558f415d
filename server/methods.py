"""Which methods a path takes."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope


def allowed_methods(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """The methods that a request's path takes, sorted; Starlette names those of its first route alone."""
    matching = [route for route in _leaves(routes) if route.matches(scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in route.methods or ()})


def _leaves(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """All routes, also those of an included router, which newer FastAPI keeps whole."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from _leaves(router.routes)
