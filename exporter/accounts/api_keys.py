"""The API keys of accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from exporter.telnyx.errors import KeyUnusable

if TYPE_CHECKING:
    from exporter.config.keys.key_files import AccountKey

ApiKey: TypeAlias = Callable[[], str]
"""Returns the key, or raises `TelnyxError`. If two are equal, they return the same key."""


@dataclass(frozen=True, slots=True)
class KeyOfFile:
    """The key that a file had when it was read."""

    file: AccountKey

    def __call__(self) -> str:
        """Return the key. Raises `KeyUnusable`."""
        if self.file.key is None:
            raise KeyUnusable(f"unusable API key file: {self.file.problem}")
        return self.file.key
