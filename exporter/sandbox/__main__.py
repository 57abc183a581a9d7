"""The command `python -m exporter.sandbox`: serves the sandbox on loopback."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, NoReturn

import uvicorn

from exporter.sandbox import Account, create_app
from exporter.sandbox.api import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_KEY = "sandbox"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _loopback_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    with suppress(ValueError):
        if IPv4Address(host).is_loopback and int(port) in range(1 << 16):
            return host, int(port)
    raise argparse.ArgumentTypeError("must be a loopback address and a port, such as 127.0.0.1:18080")


def _path(text: str) -> str:
    if text not in ENDPOINTS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(ENDPOINTS)}")
    return text


def _parser() -> _Parser:
    parser = _Parser(
        "python -m exporter.sandbox",
        description="Serve a Telnyx-compatible API with a simulated account on loopback. The API key is the value of "
        f"TELNYX_API_KEY in the environment, or `{_DEFAULT_KEY}` if that is not set.",
    )

    def add(flag: str, help_text: str, **options: Any) -> None:
        parser.add_argument(flag, help=help_text, **options)

    default = "(default: %(default)s)"
    address = {"type": _loopback_address, "default": "127.0.0.1:18080", "metavar": "ADDRESS"}
    add("--listen-address", f"loopback address and port to listen on; port 0 selects a free one {default}", **address)
    add("--size", f"number of credential connections {default}", type=int, default=55, metavar="N")
    add(
        "--seed",
        f"seed of the account; the same seed generates the same account {default}",
        type=int,
        default=1,
        metavar="N",
    )
    add(
        "--step",
        f"seconds between two changes of the account, 0 for no changes {default}",
        type=int,
        default=45,
        metavar="N",
    )
    add("--rate-limit", f"maximum requests per minute, 0 for no limit {default}", type=int, default=600, metavar="N")
    paths = f"path that the API key may not read; repeat the flag for several: {', '.join(ENDPOINTS)}"
    add("--forbid", paths, action="append", type=_path, default=[], metavar="PATH")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a sandbox until interrupted. The API key is the environment's `TELNYX_API_KEY`, or `sandbox`."""
    parser = _parser()
    options = parser.parse_args(argv)
    if min(options.size, options.step, options.rate_limit) < 0:
        parser.error("--size, --step and --rate-limit must be 0 or more")
    host, port = options.listen_address
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # the error's own text repeats the address in Python's notation
        parser.error(f"cannot listen on {host}:{port}: {reason}")

    with listener, suppress(KeyboardInterrupt):
        account = Account(options.size, options.seed, step=options.step)
        api_key = os.environ.get("TELNYX_API_KEY") or _DEFAULT_KEY
        app = create_app(account, api_key=api_key, rate_limit=options.rate_limit, forbidden=options.forbid)
        base_url = f"http://{host}:{listener.getsockname()[1]}/v2"
        shown_key = api_key if api_key == _DEFAULT_KEY else "..."
        sys.stderr.write(
            f"The sandbox serves {options.size} credential connections. "
            f"Run: TELNYX_BASE_URL={base_url} TELNYX_API_KEY={shown_key} telnyx-exporter\n"
        )
        uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning", lifespan="off")).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
