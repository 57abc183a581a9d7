"""The command line: reads the settings and runs the command that they choose."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import stamina.instrumentation
import uvloop

from exporter.build import PROGRAM
from exporter.commands.checks import check_access, check_config
from exporter.commands.components import create_telemetry, open_keys, read_settings, warn_of_ignored
from exporter.commands.once import poll_once
from exporter.commands.output import discard
from exporter.commands.serve import listening_sockets, open_web_config, serve
from exporter.config.flags import UsageError
from exporter.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status.

    0 is success, 1 a failed poll or access check, or an address that can't be bound, 2 a usage error, 130 an interrupt.
    """
    _reserve_standard_descriptors()
    if sys.stderr is None:  # otherwise Python would write errors to standard output, among the metrics
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- open until the process ends
    try:
        settings, given = read_settings(arguments)
        once = settings.once or settings.once_complete
        configure_logging(settings.log.level, settings.log.format)
        telemetry = create_telemetry(settings, process=not once)
        read_keys, web_config = open_keys(settings, telemetry), open_web_config(settings)
        if settings.check_config:
            return _run(check_config(settings, given, read_keys, web_config, telemetry))
        warn_of_ignored(settings, given)
        if settings.check_access:
            return _run(check_access(settings, read_keys, telemetry))
        if once:
            return _run(poll_once(settings, read_keys, telemetry))
        with listening_sockets(settings) as listeners:
            return _run(serve(arguments, settings, read_keys, web_config, listeners=listeners, telemetry=telemetry))
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 -- for the user, not for the log
        return error.status
    except KeyboardInterrupt:
        return 130
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            discard(sys.stderr)


def _reserve_standard_descriptors() -> None:
    """Open closed standard streams on /dev/null. A socket could get their descriptor otherwise, and uvloop aborts."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 -- standard error
        pass
    os.close(descriptor)


def _run(coroutine: Coroutine[None, None, int]) -> int:
    stamina.instrumentation.set_on_retry_hooks(())  # the exporter has its own log and metrics
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # One thread renders, compresses and reloads. More would not be faster, and each would keep its own memory.
        runner.get_loop().set_default_executor(ThreadPoolExecutor(1))
        return runner.run(coroutine)
