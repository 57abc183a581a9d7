"""Loads settings from flags, environment variables and a `.env` file, in this order of precedence.

The model in `settings.py` is the only list of settings. Flags, help and error messages are derived from it.
"""

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
from pydantic import BaseModel, ValidationError

from exporter import __version__
from exporter.config.files import read_file
from exporter.config.settings import DOTENV, PREFIX, Settings, SettingsGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

PROGRAM = "telnyx-exporter"
_MAX_DOTENV_BYTES = 2**20

_KUBERNETES_VARIABLE = re.compile(rf"{PREFIX}(?:SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")
"""Variables that Kubernetes sets in every container of a namespace that has a Service named telnyx-exporter."""

_NEED_RESTART = frozenset({"web", "demo", "once", "check_config"})
"""Settings, and groups of settings, that a reload can't change."""


class UsageError(ValueError):
    """A problem that the user must fix, such as an invalid setting. The message is one line: what, where and why."""

    status = 2
    """The exit status."""


class BindError(UsageError):
    """An address that can't be bound. A later attempt may succeed, so the exit status differs."""

    status = 1


class Option(NamedTuple):
    """A setting as the user sees it."""

    path: tuple[str, ...]
    """The place in the model, such as `("telnyx", "page_size")`."""
    flag: str
    """Empty if there is none."""
    variable: str
    help: str
    metavar: str
    """Placeholder for the value in the help. Empty for a switch."""
    repeatable: bool
    """Whether the flag can be given several times."""
    default: str
    secret: bool
    """Whether error messages must not quote the value."""


def _fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        field_path = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup):
            yield from _fields(field.annotation, field_path)
        else:
            yield field_path, field


def _option(path: tuple[str, ...], field: FieldInfo) -> Option:
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Option(
        path,
        flag=extra.get("flag", "--" + ".".join(path).replace("_", "-")),
        variable=str(field.validation_alias or PREFIX + "__".join(path).upper()),
        help=field.description or "",
        metavar=extra.get("metavar", ""),
        repeatable=extra.get("repeatable", False),
        default="" if field.default in {None, False} else str(field.default),
        secret=extra.get("secret", False),
    )


OPTIONS: tuple[Option, ...] = tuple(_option(path, field) for path, field in _fields(Settings))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--FLAG=VALUE ...]",
        description="Prometheus exporter for Telnyx credential connections.",
        epilog=f"The API key is read from TELNYX_API_KEY or --telnyx.api-key-file. A {DOTENV} file in the working "
        "directory may contain any of the variables. Durations are Prometheus durations: 90s, 1m30s, 500ms.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100),
    )
    groups = {"": parser.add_argument_group("Modes")}
    for option in OPTIONS:
        if not option.flag:
            continue
        name = option.flag.removeprefix("--").rpartition(".")[0]
        if name not in groups:
            groups[name] = parser.add_argument_group(name, _group_title(name))
        default = f" Default: {option.default}." if option.default else ""
        kwargs: dict[str, Any] = (
            {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": "true"}
        )
        if option.repeatable:
            kwargs["action"] = "append"
        groups[name].add_argument(
            option.flag,
            dest=".".join(option.path),
            default=argparse.SUPPRESS,
            help=f"{option.help}{default} [{option.variable}]",
            **kwargs,
        )
    groups[""].add_argument(
        "--version", action="version", version=f"{PROGRAM} {__version__}", help="Print the version."
    )
    groups[""].add_argument("-h", "--help", action="help", help="Print this help.")
    return parser


def _group_title(name: str) -> str:
    model: type[BaseModel] = Settings
    for part in name.split("."):
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)  # noqa: S101 -- _fields only descends into groups
        model = annotation
    return (model.__doc__ or "").splitlines()[0]


def _suggestion(name: str, known: Iterable[str], prefix: str) -> str:
    """Suggest a known name that is similar. The common prefix is removed first, because it makes all names similar."""
    by_rest = {other.removeprefix(prefix): other for other in known}
    close = difflib.get_close_matches(name.removeprefix(prefix), list(by_rest), n=1)
    return f"; did you mean {by_rest[close[0]]}?" if close else ""


def _read_flags(arguments: Sequence[str]) -> dict[str, str]:
    known, unknown = _parser().parse_known_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        kind = "flag" if name.startswith("-") else "argument"
        printable = name if name.isprintable() else repr(name)
        flags = (option.flag for option in OPTIONS if option.flag)
        raise UsageError(f"unknown {kind} {printable}{_suggestion(name, flags, '--')}")
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in vars(known).items()}


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


def _check_variables(source: str, names: Iterable[str]) -> None:
    known = {option.variable for option in OPTIONS}
    for name in names:
        is_ours = name.upper().startswith(PREFIX) and not _KUBERNETES_VARIABLE.fullmatch(name)
        if is_ours and name.upper() not in known:
            raise UsageError(f"unknown variable {name}{source}{_suggestion(name.upper(), known, PREFIX)}")


def _nest(flags: Mapping[str, str]) -> dict[str, Any]:
    """Convert `{"telnyx.page_size": "5"}` to `{"telnyx": {"page_size": "5"}}`."""
    values: dict[str, Any] = {}
    for path, value in flags.items():
        *groups, name = path.split(".")
        group_values = values
        for group in groups:
            group_values = group_values.setdefault(group, {})
        group_values[name] = value
    return values


def _explain(error: ValidationError, flags: Mapping[str, str], dotenv: Mapping[str, str]) -> str:
    """Describe the first invalid setting: where it was set, to what, and why it is invalid."""
    problem = error.errors(include_url=False)[0]
    message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"].lower()
    by_path = {option.path: option for option in OPTIONS} | {(option.variable,): option for option in OPTIONS}
    option = by_path.get(tuple(str(part) for part in problem["loc"]))
    if option is None:
        return message
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    dotenv = {name.upper(): value for name, value in dotenv.items()}
    sources = (
        (option.flag, flags.get(".".join(option.path))),
        (option.variable, environment.get(option.variable)),
        (f"{option.variable} in {DOTENV}", dotenv.get(option.variable)),
    )
    where, value = next(((name, value) for name, value in sources if value is not None), (option.variable, ""))
    return f"{where}: {message}" if option.secret else f"{where}={value!r}: {message}"


def check_reloadable(before: Settings, after: Settings) -> None:
    """Raise `UsageError` if a setting changed that needs a restart."""
    for option in OPTIONS:
        value_of = attrgetter(".".join(option.path))
        if option.path[0] in _NEED_RESTART and value_of(before) != value_of(after):
            raise UsageError(f"{option.flag} can't change while the exporter runs: restart it")


def load_settings(arguments: Sequence[str]) -> Settings:
    """Load the settings from command line arguments, the environment and `.env`.

    Raises `UsageError` for the first problem. `--help` and `--version` print and raise `SystemExit`.
    """
    flags = _read_flags(arguments)
    dotenv = _read_dotenv()
    _check_variables("", os.environ)
    _check_variables(f" in {DOTENV}", dotenv)
    try:
        return Settings(**_nest(flags))
    except ValidationError as error:
        raise UsageError(_explain(error, flags, dotenv)) from None
