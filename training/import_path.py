"""Code of one's own, named by an import path ``module:name`` where a recipe or an option expects a name."""

import inspect
import re
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from index.errors import InvalidInput

_FORM = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")

_Base = TypeVar("_Base")


def is_import_path(name: str) -> bool:
    """Whether a name is meant as an import path; nothing that ships has a colon in its name."""
    return ":" in name


def imported(path: str) -> Any:
    """Import the module of ``path`` and take the thing of that name from it.

    The module is looked for where Python looks, and then in the current directory: a file beside the
    recipe can be named, and none there stands in for an installed package.

    Args:
        path: Such as ``my_losses:CentreTerm`` or ``my_package.losses:CentreTerm``.

    Raises:
        InvalidInput: ``path`` has another form, there is no such module, it fails when it is imported,
            or it has nothing of that name; the message says which.
    """
    found = _FORM.fullmatch(path)
    if found is None or found["module"].endswith(".py"):
        raise InvalidInput(
            f"expected module:name, such as my_losses:CentreTerm (without .py, with dots for folders), "
            f"got {path!r}"
        )
    module = _module(found["module"], path)
    if not hasattr(module, found["name"]):
        own = [name for name, value in vars(module).items() if _is_defined_in(module, value)]
        raise InvalidInput(
            f"there is no {found['name']!r} in {module.__file__ or module.__name__} to take {path!r} from; "
            f"it defines {', '.join(own) or 'no class and no function'}"
        )
    return getattr(module, found["name"])


def imported_class(path: str, base: type[_Base]) -> type[_Base]:
    """As ``imported``, of a subclass of ``base``.

    Raises:
        InvalidInput: As ``imported``, or ``path`` names something else.
    """
    found = imported(path)
    if not (isinstance(found, type) and issubclass(found, base)):
        what = "another class" if isinstance(found, type) else f"something of type {type(found).__name__}"
        raise InvalidInput(
            f"{path!r} must name a subclass of {base.__module__}.{base.__qualname__}, it names {what}"
        )
    return found


def settings_of(kind: type) -> dict[str, bool]:
    """The arguments that making a ``kind`` takes by name, and of each whether it must be given."""
    collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(kind).parameters.items()
    return {name: one.default is one.empty for name, one in parameters if one.kind not in collecting}


def _module(name: str, path: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        raise InvalidInput(
            f"there is no module {error.name!r} to take {path!r} from; looked among the installed packages "
            f"and in the current directory, {here}"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> InvalidInput:
    last = traceback.extract_tb(error.__traceback__)[-1]
    at = "" if isinstance(error, SyntaxError) else f" at {last.filename} line {last.lineno}"
    return InvalidInput(
        f"the module {name!r} failed when it was imported{at}: {type(error).__name__}: {error}"
    )


def _is_defined_in(module: ModuleType, value: object) -> bool:
    return getattr(value, "__module__", None) == module.__name__
