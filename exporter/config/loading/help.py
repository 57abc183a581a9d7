"""The text of `--help`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from exporter.build import PROGRAM
from exporter.config.options import COLLECTORS_GROUP, group_title
from exporter.config.settings import DOTENV

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.config.options import Option


def help_text(options: Iterable[Option]) -> str:
    """Format the flags with their variables and defaults. A switch is listed as `--[no-]demo`, as kingpin does."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--FLAG=VALUE ...]",
        description="Prometheus exporter for Telnyx SIP trunks.",
        epilog="Set the API key with TELNYX_API_KEY or --telnyx.api-key-file, or the keys of several accounts with "
        f"--telnyx.api-key-files. You can set any variable in a {DOTENV} file in the working directory. Durations "
        "have Prometheus's format: 90s, 1m30s, 500ms.",
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100),
    )
    groups = {
        "": parser.add_argument_group("Modes", "Without a mode, serve metrics until a signal stops the exporter."),
        COLLECTORS_GROUP: parser.add_argument_group("Collectors", "Each collector reads one Telnyx resource."),
    }
    for option in options:
        if not option.flag:
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group, group_title(option.group))
        default = f" Default: {option.default}." if option.default else ""
        text = f"{option.help}{default} [{option.variable}]"
        if option.metavar:
            groups[option.group].add_argument(option.flag, metavar=option.metavar, help=text)
        else:
            groups[option.group].add_argument(f"--[no-]{option.flag[2:]}", action="store_true", help=text)
    groups[""].add_argument(
        "--assets-dir", action="store_true", help="Print the folder with dashboards, rules, runbooks and systemd units."
    )
    groups[""].add_argument("--version", action="store_true", help="Print the version.")
    groups[""].add_argument("-h", "--help", action="store_true", help="Print this help.")
    return parser.format_help()
