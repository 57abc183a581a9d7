"""Loads settings from flags, environment variables and a `.env` file, in this order of precedence."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from exporter.config.loading.arguments import read_flags
from exporter.config.loading.messages import explain
from exporter.config.loading.sources import Given, Sources
from exporter.config.loading.variables import check_prefixed, check_shared, read_dotenv, set_variables
from exporter.config.options import OPTIONS, collector_options
from exporter.config.settings import DOTENV, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.config.options import CollectorFlags, Option

_NEED_RESTART = frozenset(
    {"web", "shard", "total_shards", "demo", "once", "once_complete", "check_config", "check_access"}
)
"""Settings, and groups of settings, that a reload can't change."""
_KEY_SOURCES = frozenset({"api_key", "telnyx.api_key_file", "telnyx.api_key_files"})
"""Settings of which only one can be used."""


class UsageError(ValueError):
    """A problem that the user must fix, such as an invalid setting. The message is one line: what, where and why."""

    status = 2
    """The exit status."""


class BindError(UsageError):
    """An address that can't be bound. A later attempt may succeed, so the exit status differs."""

    status = 1


class Loaded(NamedTuple):
    """The settings, and the values that the user set."""

    settings: Settings
    given: Sequence[Given]


def load_settings(arguments: Sequence[str], collectors: Iterable[CollectorFlags]) -> Loaded:
    """Load the settings from command line arguments, the environment and `.env`.

    Raises `UsageError` for the first problem. `--help`, `--version` and `--assets-dir` print and raise `SystemExit`.
    """
    of_collectors = collector_options(collectors)
    options = (*OPTIONS, *of_collectors)
    try:
        flags, dotenv = read_flags(arguments, options), read_dotenv()
        check_prefixed(os.environ, options)
        check_prefixed(dotenv, options, f" in {DOTENV}")
        sources = Sources(flags, set_variables(os.environ), set_variables(dotenv))
        settings = _validate(sources, options, of_collectors)
        given = tuple(found for option in options if (found := sources.find(option)))
        _check_shared_variables(settings, given, dotenv)
        _check_key_sources(settings, given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Loaded(settings, given)


def _validate(sources: Sources, options: Iterable[Option], of_collectors: Iterable[Option]) -> Settings:
    """Return the settings. Raises `ValueError` for the first invalid one."""
    # pydantic-settings reads the variables of the model. It can't express a switch with an option below it.
    found = {option.dotted_path: sources.find(option) for option in of_collectors}
    values = {**sources.flags, **{path: given.value for path, given in found.items() if given}}
    try:
        return Settings(**_nest(values))
    except ValidationError as error:
        raise ValueError(explain(error, options, sources)) from None


def _check_shared_variables(settings: Settings, given: Iterable[Given], dotenv: Iterable[str]) -> None:
    """Check variables that are misspelt, if the exporter reads a Telnyx account. A demo needs neither key nor URL."""
    has_key = settings.demo or any(each.option.dotted_path in _KEY_SOURCES for each in given)
    has_url = settings.demo or any(each.option.path == ("base_url",) for each in given)
    check_shared(os.environ, needs_key=not has_key, needs_url=not has_url)
    check_shared(dotenv, needs_key=not has_key, needs_url=not has_url, place=f" in {DOTENV}")


def _check_key_sources(settings: Settings, given: Iterable[Given]) -> None:
    """Raise `ValueError` if the API key is set in several ways. A demo uses none of them."""
    found = [each.where for each in given if each.option.dotted_path in _KEY_SOURCES]
    if len(found) > 1 and not settings.demo:
        raise ValueError(f"{', '.join(found[:-1])} and {found[-1]} can't be used together: choose one")


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


def check_reloadable(before: Settings, after: Settings) -> None:
    """Raise `UsageError` if a setting changed that needs a restart."""
    for option in OPTIONS:
        value_of = attrgetter(option.dotted_path)
        if option.path[0] in _NEED_RESTART and value_of(before) != value_of(after):
            raise UsageError(f"{option.flag} can't change at a reload: restart the exporter")
    if (before.telnyx.api_key_files is None) != (after.telnyx.api_key_files is None):
        raise UsageError("--telnyx.api-key-files can't be set or removed at a reload: restart the exporter")
