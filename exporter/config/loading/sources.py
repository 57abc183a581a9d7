"""Where settings are set: flags, environment variables and `.env`, in this order of precedence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.config.settings import DOTENV

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config.options import Option


class Given(NamedTuple):
    """A value that the user set."""

    option: Option
    where: str
    """The flag, the variable, or the variable "in .env"."""
    value: str
    """As the user wrote it."""


class Sources(NamedTuple):
    """The values that are set. An empty variable counts as unset."""

    flags: Mapping[str, str]
    """By the dotted path of the option."""
    environment: Mapping[str, str]
    """By the variable, in upper case."""
    dotenv: Mapping[str, str]
    """By the variable, in upper case."""

    def find(self, option: Option) -> Given | None:
        """Return the value that takes precedence, or None if the option is not set."""
        found = (
            (option.flag, self.flags.get(option.dotted_path)),
            (option.variable, self.environment.get(option.variable)),
            (f"{option.variable} in {DOTENV}", self.dotenv.get(option.variable)),
        )
        return next((Given(option, where, value) for where, value in found if value is not None), None)
