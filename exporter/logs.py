"""The log: one line per event, on standard error, as logfmt or JSON."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from structlog.typing import Processor

MAX_NAMES = 10
"""Maximum number of names in a log line, and of lines about single rows."""
_LOGFMT = structlog.processors.LogfmtRenderer(
    key_order=("time", "level", "msg", "account"), drop_missing=True, bool_as_flag=False
)


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


def configure_logging(
    level: Literal["debug", "info", "warning", "error"], form: Literal["logfmt", "json"], stream: Stream | None = None
) -> None:
    """Configure structlog, and the standard library's logging, which libraries use.

    By default, the log is written to standard error. Each call of `stream.write` gets whole lines.
    Libraries log at `warning` or higher, whatever the level, because at `debug` some would log headers.
    """
    target = cast("TextIO", ErrorIgnoringStream(stream or sys.stderr))
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _shorten_traceback,
        structlog.processors.EventRenamer("msg"),
        structlog.contextvars.merge_contextvars,  # for example the name of the account
    ]
    structlog.configure(
        processors=[*shared, _RENDERERS[form]],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _RENDERERS[form]],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, getattr(logging, level.upper())), force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns about each bad request, which anyone can send


def join_some(names: Sequence[str]) -> str:
    """Join names for a log line, without those beyond a maximum."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


class Stream(Protocol):
    """The target of the log."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> object:
        """Write buffered text."""


class ErrorIgnoringStream:
    """A stream that ignores write errors: a log that can't be written must not stop the exporter."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Return other attributes of the stream, such as its encoding."""
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write text, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def _shorten_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace a traceback with the location of its last frame."""
    exc_info = event.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, BaseException):
        event["exception"] = error_location(error)
    return event
