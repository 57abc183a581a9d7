"""The API keys of several accounts, one file each."""

from __future__ import annotations

import os.path
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from exporter.config.keys.key_file import describe_problem, read_key
from exporter.config.values import contains_api_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NAME_RULE = "must be 1 to 64 letters, digits, dots, hyphens or underscores, and not look like an API key"
"""Why a file is ignored because of its name."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LIKE_A_KEY = re.compile(r"KEY[0-9A-F]{16}", re.IGNORECASE)
"""A name that begins like this is probably a key. It must not become a label."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class AccountKey:
    """The API key of one account, or the reason why its file is unusable."""

    file: Path
    key: str | None = field(repr=False)
    """None if the file is unusable."""
    problem: str = ""
    """Why the file is unusable. It never quotes the file."""


class FoundKeys(NamedTuple):
    """The files that match a pattern."""

    keys: Mapping[str, AccountKey]
    """By the name of the account, sorted."""
    ignored: Sequence[Path]
    """Files that are ignored because the text that the `*` matches is no valid account name. Keys are not shown."""


class KeyFiles:
    """Reads the files that match a pattern, and logs changes. Each file is an account.

    Accounts that are not `owned` are part of the result, but their files are not read.
    """

    def __init__(self, pattern: str, *, is_owned: Callable[[str], bool] = lambda _: True) -> None:
        self._pattern = pattern
        self._is_owned = is_owned
        self._problems: Mapping[str, str] = {}
        """The problems that are logged, by account."""
        self._ignored: frozenset[Path] = frozenset()
        self._is_missed: bool | None = None
        """Whether the files that matched are gone. None before a file has matched."""

    def read(self) -> Mapping[str, AccountKey]:
        """Return the accounts by name, sorted. If the directory doesn't exist, there are none.

        Raises `OSError` if the directory can't be listed.
        """
        keys, ignored = find_keys(self._pattern, is_owned=self._is_owned)
        for file in ignored:
            if file not in self._ignored:
                _log.warning("API key file is ignored because of its name", file=str(file), problem=NAME_RULE)
        self._ignored = frozenset(ignored)
        self._log_matches(len(keys))
        for account, found in keys.items():
            self._log_problem(account, found)
        self._problems = {account: found.problem for account, found in keys.items() if found.problem}
        return keys

    def _log_matches(self, files: int) -> None:
        was_missed = self._is_missed
        if files or was_missed is not None:
            self._is_missed = not files
        if self._is_missed and not was_missed:
            _log.warning("no API key file matches", pattern=self._pattern)
        elif was_missed and not self._is_missed:
            _log.info("API key files match again", pattern=self._pattern, files=files)

    def _log_problem(self, account: str, found: AccountKey) -> None:
        before = self._problems.get(account, "")
        if found.problem and found.problem != before:
            _log.warning("API key file is unusable", account=account, file=str(found.file), problem=found.problem)
        elif before and not found.problem:
            _log.info("API key file is valid again", account=account, file=str(found.file))


def find_keys(pattern: str, *, is_owned: Callable[[str], bool] = lambda _: True) -> FoundKeys:
    """Find the files that match a pattern, and read those of the accounts that are owned.

    Raises `OSError` if the directory exists, but can't be listed.
    """
    keys: dict[str, AccountKey] = {}
    ignored: list[Path] = []
    for account, file in sorted(_matches(Path(pattern))):
        if _NAME.fullmatch(account) is None or _LIKE_A_KEY.match(account):
            ignored.append(file.with_name("...") if contains_api_key(file.name) else file)
        elif not is_owned(account):
            keys[account] = AccountKey(file, None)
        elif found := _read(file):
            keys[account] = found
    return FoundKeys(keys, ignored)


def _matches(pattern: Path) -> Iterator[tuple[str, Path]]:
    """Yield the text that the `*` matches and the path, except for directories and names that start with a dot."""
    before, _, after = pattern.name.partition("*")
    try:
        files = list(pattern.parent.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise OSError(error.errno, f"{pattern.parent} can't be listed: {error.strerror}") from None
    for file in files:
        account = file.name.removeprefix(before).removesuffix(after)
        is_match = before + account + after == file.name
        if is_match and not account.startswith(".") and not _is_directory(file):
            yield account, file


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:  # for example a dangling link: reading it raises the error to show
        return False


def _read(file: Path) -> AccountKey | None:
    """Read a key. Return None if the file has been removed since the directory was listed."""
    try:
        return AccountKey(file, read_key(file))
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(file):
            return None
        return AccountKey(file, None, describe_problem(error))
