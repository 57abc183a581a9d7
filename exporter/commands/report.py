"""The output of `--check-config`: the settings that are set, the files, the enabled collectors, and the accounts."""

from __future__ import annotations

import os
import shlex
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exporter.collectors.registry import enabled_collectors
from exporter.commands.components import ONLY_FOR_TELNYX, is_owned, naming_key_files, reads_key_files
from exporter.config.flags import UsageError
from exporter.config.keys.key_files import NAME_RULE, find_keys
from exporter.config.loading.messages import printable
from exporter.config.settings import DOTENV
from exporter.config.values import contains_api_key
from exporter.telnyx.http.proxies import proxy_variable
from exporter.telnyx.http.tls import ca_variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from exporter.config.keys.key_files import AccountKey, FoundKeys
    from exporter.config.loading.sources import Given
    from exporter.config.settings import Settings

_MAX_PROBLEMS = 3
"""Maximum number of accounts that an error names."""


def describe(settings: Settings, given: Sequence[Given], web_files: Sequence[Path]) -> Iterator[str]:
    """Yield the lines. They contain no secret: only the source of the API key, and only the host of a URL."""
    shown = [each for each in given if each.option.path != ("check_config",)]
    variables = _variables(settings)
    texts = [(_text(each), f"{_origin(each)}{_why_unused(settings, each)}") for each in shown]
    texts += [(what, name) for name, what in variables.items()]
    width = max((len(text) for text, _ in texts), default=0)
    yield "settings:" if texts else "settings: all have their defaults"
    yield from (f"  {text:{width}}  from {origin}" for text, origin in texts)
    if files := dict.fromkeys(
        printable(str(path.absolute())) for path in _files(settings, given, variables, web_files)
    ):
        yield "files:"
        yield from (f"  {file}" for file in files)
    yield f"collectors: {', '.join(collector.name for collector, _ in enabled_collectors(settings))}"


def _origin(given: Given) -> str:
    return "a flag" if given.where == given.option.flag else given.where


def _variables(settings: Settings) -> dict[str, str]:
    """Return the standard variables that affect the connection to Telnyx, each with the thing that it sets."""
    if settings.demo:
        return {}
    is_tls = settings.base_url.startswith("https:")
    proxy = proxy_variable(settings.base_url) if settings.telnyx.proxy_url is None else None
    cas = ca_variable() if settings.telnyx.ca_file is None and is_tls else None
    return {name: what for name, what in ((proxy, "proxy"), (cas, "trusted CAs")) if name}


def _text(given: Given) -> str:
    option, value = given.option, given.value
    if not option.flag:
        return "API key"
    if contains_api_key(value):
        value = "..."
    elif option.secret and value:  # the path of a URL can contain a token of a proxy, and other parts a password
        parts = urlsplit(value)
        rest = "/..." if parts.path.strip("/") else ""
        value = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{rest}" if parts.netloc else "..."
    elif not option.metavar:
        value = value.lower()
    return f"{option.flag}={shlex.quote(value) if value.isprintable() else repr(value)}"


def _why_unused(settings: Settings, given: Given) -> str:
    if settings.demo and given.option.dotted_path in ONLY_FOR_TELNYX:
        return " (not used: a demo reads no Telnyx account)"
    if given.option.dotted_path == "telnyx.max_concurrency" and not reads_key_files(settings):
        return " (not used: it limits the accounts of --telnyx.api-key-files)"
    return ""


def _files(
    settings: Settings, given: Sequence[Given], variables: Iterable[str], web_files: Sequence[Path]
) -> Iterator[Path]:
    if Path(DOTENV).exists():
        yield Path(DOTENV)
    for each in given:
        value = attrgetter(each.option.dotted_path)(settings) if each.option.path[0] != "collectors" else None
        if isinstance(value, Path) and not _why_unused(settings, each):
            yield value
    if "SSL_CERT_FILE" in variables:
        yield Path(os.environ["SSL_CERT_FILE"])
    yield from web_files


def find_accounts(settings: Settings) -> FoundKeys:
    """Find the files of `--telnyx.api-key-files`, and read those of this shard. Raises `UsageError`."""
    pattern = settings.telnyx.api_key_files or ""
    with naming_key_files(pattern):
        return find_keys(pattern, is_owned=lambda account: is_owned(settings, account))


def describe_accounts(settings: Settings, found: FoundKeys) -> Iterator[str]:
    """Yield the lines about the accounts of this shard: the name, the file, and whether it can be used."""
    accounts = _owned(settings, found)
    shards = f" of {len(found.keys)}, for --shard={settings.shard} --total-shards={settings.total_shards}"
    yield f"accounts: {len(accounts)}{shards if settings.total_shards > 1 else ''}"
    files = {account: printable(str(key.file.absolute())) for account, key in accounts.items()}
    width, file_width = (max(map(len, texts), default=0) for texts in (files.keys(), files.values()))
    for account, key in accounts.items():
        yield f"  {account:{width}}  {files[account]:{file_width}}  {key.problem or 'ok'}"
    if found.ignored:
        yield f"ignored files, because an account name {NAME_RULE}:"
        yield from (f"  {printable(str(file.absolute()))}" for file in found.ignored)


def check_accounts(settings: Settings, found: FoundKeys) -> None:
    """Raise `UsageError` if no file matches, or if an account of this shard can't be used."""
    accounts = _owned(settings, found)
    problems = [f"{account}: {key.problem}" for account, key in accounts.items() if key.problem]
    if not found.keys:
        problem = "no file with a valid name matches: create one for each account"
    elif problems:
        more = [f"{len(problems) - _MAX_PROBLEMS} more"] if len(problems) > _MAX_PROBLEMS else []
        shown = "; ".join([*problems[:_MAX_PROBLEMS], *more])
        problem = f"{len(problems)} of {len(accounts)} accounts can't be used: {shown}"
    else:
        return
    raise UsageError(f"--telnyx.api-key-files={settings.telnyx.api_key_files!r}: {problem}")


def _owned(settings: Settings, found: FoundKeys) -> Mapping[str, AccountKey]:
    return {account: key for account, key in found.keys.items() if is_owned(settings, account)}
