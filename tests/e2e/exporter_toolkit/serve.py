"""Serve "Hello World!" with the exporter's web layer until SIGTERM, on a socket that was passed as systemd does.

The argument is the path of a web configuration file, or empty. If the file is invalid, exit with status 2.
"""

import asyncio
import contextlib
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
from starlette.responses import PlainTextResponse

from exporter.server.incidents import IncidentLog
from exporter.server.listeners import inherit_sockets
from exporter.server.serving import serving
from exporter.server.signals import on_signals
from exporter.telemetry import Telemetry
from exporter.web import web_config
from exporter.web.middleware import WebConfigMiddleware
from exporter.web.web_config import WebConfigFile

web_config.POLL_INTERVAL = 0.05  # the tests wait 250 ms for a changed file


async def serve(file):
    """Compose the web layer as the command does."""
    app, tls, stop, incidents = PlainTextResponse("Hello World!"), None, asyncio.Event(), IncidentLog()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(on_signals((signal.SIGTERM,), stop.set))
        if file is not None:
            watching = asyncio.create_task(file.watch(Telemetry(process=False)))
            stack.callback(watching.cancel)
            app, tls = WebConfigMiddleware(app, lambda: file.config, incidents), file.tls
        await stack.enter_async_context(serving(app, *inherit_sockets(), observer=incidents, tls=tls))
        await stop.wait()


def main(path):
    """Load the file and serve. Return the exit status."""
    try:
        file = WebConfigFile(Path(path)) if path else None
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(1))
        runner.run(serve(file))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
