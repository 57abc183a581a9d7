"""Loads settings from flags, environment variables and a `.env` file, in this order of precedence."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import ValidationError

from exporter import __version__
from exporter.config.files import read_file
from exporter.config.options import COLLECTORS_GROUP, OPTIONS, collector_options, group_title
from exporter.config.settings import DOTENV, PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.config.options import CollectorFlags, Option

PROGRAM = "telnyx-exporter"
_MAX_DOTENV_BYTES = 2**20

_KUBERNETES_VARIABLE = re.compile(rf"{PREFIX}(?:SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")
"""Variables that Kubernetes sets in every container of a namespace that has a Service named telnyx-exporter."""

_NEED_RESTART = frozenset({"web", "demo", "once", "once_complete", "check_config", "check_access"})
"""Settings, and groups of settings, that a reload can't change."""


class UsageError(ValueError):
    """A problem that the user must fix, such as an invalid setting. The message is one line: what, where and why."""

    status = 2
    """The exit status."""


class BindError(UsageError):
    """An address that can't be bound. A later attempt may succeed, so the exit status differs."""

    status = 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser(options: Iterable[Option]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--FLAG=VALUE ...]",
        description="Prometheus exporter for Telnyx SIP trunks.",
        epilog=f"The API key is read from TELNYX_API_KEY or --telnyx.api-key-file. A {DOTENV} file in the working "
        "directory may contain any of the variables. Durations are Prometheus durations: 90s, 1m30s, 500ms.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100),
    )
    groups = {"": parser.add_argument_group("Modes"), COLLECTORS_GROUP: parser.add_argument_group("Collectors")}
    for option in options:
        if not option.flag:
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group, group_title(option.group))
        default = f" Default: {option.default}." if option.default else ""
        groups[option.group].add_argument(
            option.flag,
            dest=".".join(option.path),
            default=argparse.SUPPRESS,
            help=f"{option.help}{default} [{option.variable}]",
            **_action(option),
        )
    groups[""].add_argument(
        "--version", action="version", version=f"{PROGRAM} {__version__}", help="Print the version."
    )
    groups[""].add_argument("-h", "--help", action="help", help="Print this help.")
    return parser


def _action(option: Option) -> dict[str, Any]:
    if option.negation:
        return {"action": argparse.BooleanOptionalAction}  # it adds `--no-` to the flag
    if not option.metavar:
        return {"action": "store_true"}
    return {"metavar": option.metavar, "action": "append" if option.repeatable else "store"}


def _suggestion(name: str, known: Iterable[str], prefix: str) -> str:
    """Suggest a known name that is similar. The common prefix is removed first, because it makes all names similar."""
    by_rest = {other.removeprefix(prefix): other for other in known}
    close = difflib.get_close_matches(name.removeprefix(prefix), list(by_rest), n=1)
    return f"; did you mean {by_rest[close[0]]}?" if close else ""


def _read_flags(arguments: Sequence[str], options: Sequence[Option]) -> dict[str, str]:
    known, unknown = _parser(options).parse_known_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        kind = "flag" if name.startswith("-") else "argument"
        printable = name if name.isprintable() else repr(name)
        flags = (flag for option in options for flag in (option.flag, option.negation) if flag)
        raise UsageError(f"unknown {kind} {printable}{_suggestion(name, flags, '--')}")
    return {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in vars(known).items()}


def _read_dotenv() -> dict[str, str]:
    try:
        text = read_file(Path(DOTENV), _MAX_DOTENV_BYTES).decode()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or error
        raise UsageError(f"{DOTENV} in the working directory: {reason}") from None
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise UsageError(f"{DOTENV} in the working directory, line {binding.original.line}: must be NAME=value")
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def _check_variables(source: str, names: Iterable[str], options: Iterable[Option]) -> None:
    known = {option.variable for option in options}
    for name in names:
        is_ours = name.upper().startswith(PREFIX) and not _KUBERNETES_VARIABLE.fullmatch(name)
        if is_ours and name.upper() not in known:
            raise UsageError(f"unknown variable {name}{source}{_suggestion(name.upper(), known, PREFIX)}")


class _Sources(NamedTuple):
    """The values that are set. An empty variable counts as unset."""

    flags: Mapping[str, str]
    """By the dotted path of the option."""
    environment: Mapping[str, str]
    """By the variable, in upper case."""
    dotenv: Mapping[str, str]
    """By the variable, in upper case."""

    def find(self, option: Option) -> tuple[str, str] | None:
        """Return where the option is set, and the value. Return None if it is not set."""
        found = (
            (option.flag, self.flags.get(".".join(option.path))),
            (option.variable, self.environment.get(option.variable)),
            (f"{option.variable} in {DOTENV}", self.dotenv.get(option.variable)),
        )
        return next(((where, value) for where, value in found if value is not None), None)


def _set_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {name.upper(): value for name, value in variables.items() if value}


def _nest(flat: Mapping[str, str]) -> dict[str, Any]:
    """Convert `{"telnyx.page_size": "5"}` to `{"telnyx": {"page_size": "5"}}`."""
    values: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        group_values = values
        for group in groups:
            group_values = group_values.setdefault(group, {})
        group_values[name] = value
    return values


def _explain(error: ValidationError, options: Iterable[Option], sources: _Sources) -> str:
    """Describe the first invalid setting: where it was set, to what, and why it is invalid."""
    problem = error.errors(include_url=False)[0]
    message = problem["msg"].lower()
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
    elif problem["type"] == "bool_parsing":
        message = "must be true or false"
    by_path = {path: option for option in options for path in (option.path, (option.variable,))}
    option = by_path.get(tuple(str(part) for part in problem["loc"]))
    if option is None:
        return message
    name_only = (f"{option.variable} in {DOTENV}", "")  # a line without a value, which the model rejects
    where, value = sources.find(option) or name_only
    return f"{where}: {message}" if option.secret else f"{where}={value!r}: {message}"


def check_reloadable(before: Settings, after: Settings) -> None:
    """Raise `UsageError` if a setting changed that needs a restart."""
    for option in OPTIONS:
        value_of = attrgetter(".".join(option.path))
        if option.path[0] in _NEED_RESTART and value_of(before) != value_of(after):
            raise UsageError(f"{option.flag} can't change while the exporter runs: restart it")


def load_settings(arguments: Sequence[str], collectors: Iterable[CollectorFlags]) -> Settings:
    """Load the settings from command line arguments, the environment and `.env`.

    Raises `UsageError` for the first problem. `--help` and `--version` print and raise `SystemExit`.
    """
    of_collectors = collector_options(collectors)
    options = (*OPTIONS, *of_collectors)
    flags = _read_flags(arguments, options)
    dotenv = _read_dotenv()
    _check_variables("", os.environ, options)
    _check_variables(f" in {DOTENV}", dotenv, options)
    sources = _Sources(flags, _set_variables(os.environ), _set_variables(dotenv))
    # pydantic-settings reads the variables of the model. It can't express a switch with an option below it.
    found = {".".join(option.path): sources.find(option) for option in of_collectors}
    values = flags | {path: place[1] for path, place in found.items() if place}
    try:
        return Settings(**_nest(values))
    except ValidationError as error:
        raise UsageError(_explain(error, options, sources)) from None
