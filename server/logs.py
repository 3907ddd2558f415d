"""What the server says of its work: one line an event, for people or for machines, on standard error."""

import logging
from enum import StrEnum
from typing import Any

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict


class LogForm(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which weight on an event is told."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


# They would tell addresses of webhooks, each byte of a form, or which builds of a library are not there.
_QUIET = ("httpx", "httpcore", "python_multipart", "PIL", "faiss")


def _without_colours(_: object, __: str, event: EventDict) -> EventDict:
    """Uvicorn adds the line once more, for terminals."""
    event.pop("color_message", None)
    return event


def configure_logs(form: LogForm, level: LogLevel) -> None:
    """Have every line of this process written in one form; what was configured before is replaced."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        ExtraAdder(),
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.dev.ConsoleRenderer(colors=False)]
    if form is LogForm.JSON:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    handler = logging.StreamHandler()
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared, processors=[ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
