"""How settings are given: flags, environment variables and a `.env` file, in this order of precedence.

The model in `settings.py` is the only list of them; names, help and error messages are derived from it here.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import BaseModel, ValidationError

from exporter import __version__
from exporter.config.files import read
from exporter.config.settings import DOTENV, PREFIX, Group, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

PROGRAM = "telnyx-exporter"
_MAX_DOTENV = 2**20

_FOREIGN = re.compile(rf"{PREFIX}(?:SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")
"""Variables that Kubernetes gives to every container beside a Service of the name telnyx-exporter."""


_AT_START = frozenset({"web", "demo", "once", "check_config"})
"""Settings, and groups of them, that decide what the process is."""


class UsageError(ValueError):
    """What a user set can't be used; the message is one line that says what, where and why."""

    status = 2
    """What the process ends with."""


class Unavailable(UsageError):
    """What a user set can't be had now, but may be another time."""

    status = 1


class Option(NamedTuple):
    """A setting as its user sees it."""

    path: tuple[str, ...]
    """Where it is in the model, such as `("telnyx", "page_size")`."""
    flag: str
    """Empty where there is none."""
    variable: str
    help: str
    value: str
    """What the help calls its value; empty for a switch."""
    many: bool
    """Whether its flag can be given several times."""
    default: str
    secret: bool
    """Whether an error must not repeat its value."""


def _fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            yield from _fields(field.annotation, here)
        else:
            yield here, field


def _option_of(path: tuple[str, ...], field: FieldInfo) -> Option:
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Option(
        path,
        flag=extra.get("flag", "--" + ".".join(path).replace("_", "-")),
        variable=str(field.validation_alias or PREFIX + "__".join(path).upper()),
        help=field.description or "",
        value=extra.get("value", ""),
        many=extra.get("many", False),
        default="" if field.default in {None, False} else str(field.default),
        secret=extra.get("secret", False),
    )


OPTIONS: tuple[Option, ...] = tuple(_option_of(path, field) for path, field in _fields(Settings))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--FLAG=VALUE ...]",
        description="Prometheus exporter for Telnyx credential connections.",
        epilog=f"The API key is read from TELNYX_API_KEY or --telnyx.api-key-file. A {DOTENV} file in the working "
        "directory may hold any of the variables. Durations are Prometheus durations: 90s, 1m30s, 500ms.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100),
    )
    groups = {"": parser.add_argument_group("what to do")}
    for option in OPTIONS:
        if not option.flag:
            continue
        name = option.flag.removeprefix("--").rpartition(".")[0]
        if name not in groups:
            groups[name] = parser.add_argument_group(name, _summary(name))
        default = f" Default: {option.default}." if option.default else ""
        what: dict[str, Any] = {"metavar": option.value} if option.value else {"action": "store_const", "const": "true"}
        if option.many:
            what["action"] = "append"
        groups[name].add_argument(
            option.flag,
            dest=".".join(option.path),
            default=argparse.SUPPRESS,
            help=f"{option.help}{default} [{option.variable}]",
            **what,
        )
    groups[""].add_argument(
        "--version", action="version", version=f"{PROGRAM} {__version__}", help="Print the version."
    )
    groups[""].add_argument("-h", "--help", action="help", help="Print this help.")
    return parser


def _summary(name: str) -> str:
    model: type[BaseModel] = Settings
    for part in name.split("."):
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)  # noqa: S101 -- a group by construction, see _fields
        model = annotation
    return (model.__doc__ or "").splitlines()[0]


def _suggestion(name: str, known: Iterable[str], prefix: str) -> str:
    """Return what may have been meant; the prefix that most have in common must not make them alike."""
    rests = {other.removeprefix(prefix): other for other in known}
    close = difflib.get_close_matches(name.removeprefix(prefix), list(rests), n=1)
    return f"; did you mean {rests[close[0]]}?" if close else ""


def _read_flags(arguments: Sequence[str]) -> dict[str, str]:
    given, unknown = _parser().parse_known_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        kind = "flag" if name.startswith("-") else "argument"
        shown = name if name.isprintable() else repr(name)
        flags = (option.flag for option in OPTIONS if option.flag)
        raise UsageError(f"unknown {kind} {shown}{_suggestion(name, flags, '--')}")
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in vars(given).items()}


def _read_dotenv() -> dict[str, str]:
    try:
        text = read(Path(DOTENV), _MAX_DOTENV).decode()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or error
        raise UsageError(f"{DOTENV} in the working directory: {reason}") from None
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise UsageError(f"{DOTENV} in the working directory, line {binding.original.line}: is no NAME=value")
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def _check_variables(source: str, names: Iterable[str]) -> None:
    known = {option.variable for option in OPTIONS}
    for name in names:
        if name.upper().startswith(PREFIX) and name.upper() not in known and not _FOREIGN.fullmatch(name):
            raise UsageError(f"unknown variable {name}{source}{_suggestion(name.upper(), known, PREFIX)}")


def _nest(flags: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path, value in flags.items():
        *groups, name = path.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return values


def _explain(error: ValidationError, flags: Mapping[str, str], dotenv: Mapping[str, str]) -> str:
    """Say what was set where, and why it can't be used, for the first thing that is wrong."""
    problem = error.errors(include_url=False)[0]
    message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"].lower()
    places = {option.path: option for option in OPTIONS} | {(option.variable,): option for option in OPTIONS}
    option = places.get(tuple(str(part) for part in problem["loc"]))
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


def check_change(before: Settings, after: Settings) -> None:
    """Raise `UsageError` where settings that are read again differ in what is decided once, at the start."""
    for option in OPTIONS:
        if option.path[0] in _AT_START and _value(before, option.path) != _value(after, option.path):
            raise UsageError(f"{option.flag} can't change while the exporter runs: restart it")


def _value(settings: Settings, path: Iterable[str]) -> object:
    value: object = settings
    for name in path:
        value = getattr(value, name)
    return value


def load(arguments: Sequence[str]) -> Settings:
    """Return the settings of these command line arguments, the environment and `.env`.

    Raises `UsageError` for the first thing that is wrong. `--help` and `--version` print and raise `SystemExit`.
    """
    flags = _read_flags(arguments)
    dotenv = _read_dotenv()
    _check_variables("", os.environ)
    _check_variables(f" in {DOTENV}", dotenv)
    try:
        return Settings(**_nest(flags))
    except ValidationError as error:
        raise UsageError(_explain(error, flags, dotenv)) from None
