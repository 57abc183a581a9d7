"""The log: one line per event, on standard error, as logfmt or JSON."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from structlog.typing import Processor

_LOGFMT = structlog.processors.LogfmtRenderer(key_order=("time", "level", "msg"), bool_as_flag=False)


def _render_logfmt(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Render one line, and escape control characters, which an id from Telnyx could contain."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
    return str(_LOGFMT(logger, method, event))


_RENDERERS: dict[str, Processor] = {"logfmt": _render_logfmt, "json": structlog.processors.JSONRenderer()}


def error_location(error: BaseException | None) -> str:
    """Return the type of an exception and where it was raised, without its message, which could quote anything."""
    frames = traceback.extract_tb(error.__traceback__) if error else ()
    where = f" at {frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def configure_logging(level: Literal["debug", "info", "warning", "error"], form: Literal["logfmt", "json"]) -> None:
    """Configure structlog, and the standard library's logging, which libraries use.

    Libraries log at `warning` or higher, whatever the level, because at `debug` some would log headers.
    """
    stream = cast("TextIO", _ErrorIgnoringStream(sys.stderr))
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _shorten_traceback,
        structlog.processors.EventRenamer("msg"),
    ]
    structlog.configure(
        processors=[*shared, _RENDERERS[form]],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _RENDERERS[form]],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, getattr(logging, level.upper())), force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns about each bad request, which anyone can send


class _ErrorIgnoringStream:
    """A stream that ignores write errors: a log that can't be written must not stop the exporter."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _shorten_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace a traceback with the location of its last frame."""
    exc_info = event.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, BaseException):
        event["exception"] = error_location(error)
    return event
