"""The log: one line for each event, on standard error, in logfmt or JSON."""

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


def _logfmt(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Render a line that stays one, whatever control characters an id that Telnyx sent may hold."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
    return str(_LOGFMT(logger, method, event))


_RENDERERS: dict[str, Processor] = {"logfmt": _logfmt, "json": structlog.processors.JSONRenderer()}


def place(error: BaseException | None) -> str:
    """Return an exception's type and where it was raised, without its text, which could quote anything."""
    frames = traceback.extract_tb(error.__traceback__) if error else ()
    where = f" at {frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def configure(level: Literal["debug", "info", "warning", "error"], form: Literal["logfmt", "json"]) -> None:
    """Set up structlog, and the standard library's logging for what libraries have to say.

    Libraries are heard from `warning` on, whatever the level: at `debug` some would log headers.
    """
    stream = cast("TextIO", _Forgiving(sys.stderr))
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _shorten,
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
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of each bad request, which anyone can send


class _Forgiving:
    """A stream whose troubles are its own: a log that can't be written must not end what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _shorten(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace a traceback by the place where it ends."""
    exc_info = event.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, BaseException):
        event["exception"] = place(error)
    return event
