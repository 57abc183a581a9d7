"""The parameters of the status page's URL: what to search, filter, sort and show."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from exporter.status.problems import CONNECTION_PROBLEMS

if TYPE_CHECKING:
    from typing import Self

SORTS = (
    "name",
    "account",
    "type",
    "state",
    "registration",
    "site",
    "encryption",
    "inbound_limit",
    "outbound_limit",
    "updated",
)
"""The columns that the table can be sorted by. A `-` before the name reverses the order."""
STATES = ("active", "disabled")
REGISTRATIONS = ("registered", "not_registered")

_MAX_TEXT = 200
"""Characters of a value. Names are shorter, and so are the URLs of the page's links then."""
_MAX_PAGE = 10**9
_MAX_PARAMETERS = 100
"""The page makes links with a tenth of these. To parse thousands takes long."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to show. The names of the fields are the parameters. Empty means all."""

    account: str = ""
    """Narrows the whole page."""
    q: str = ""
    """Text that the name or the id of a connection contains, in any case."""
    state: str = ""
    registration: str = ""
    type: str = ""
    site: str = ""
    encryption: str = ""
    problem: str = ""
    """The kind of a problem that the connection has."""
    sort: str = "name"
    page: int = 1
    """From 1. A page after the last one means the last one."""

    @classmethod
    def parse(cls, query_string: bytes) -> Self:
        """Parse the part of a URL after the `?`. Ignore values without a meaning. Of several, the last one counts."""
        try:
            pairs = parse_qsl(query_string.decode("latin-1"), max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            return cls()
        texts = {name: value.strip()[:_MAX_TEXT] for name, value in pairs}
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name == "page":
                if text.isascii() and text.isdigit():
                    values[name] = min(max(1, int(text)), _MAX_PAGE)
            elif name in _PARAMETERS and text.removeprefix("-" * (name == "sort")) in _CHOICES.get(name, (text,)):
                values[name] = text
        return cls(**values)

    def link(self, **changes: str | int) -> str:
        """Return the query string with these changes, such as `?q=fax&page=2`, without defaults. `?` if it is empty."""
        values: dict[str, Any] = changes
        query = replace(self, **values)
        pairs = {name: getattr(query, name) for name, default in _PARAMETERS.items() if getattr(query, name) != default}
        return "?" + urlencode(pairs)

    @property
    def sort_column(self) -> str:
        """The column by which to sort."""
        return self.sort.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        """Whether the largest value comes first."""
        return self.sort.startswith("-")

    @property
    def has_filters(self) -> bool:
        """Whether connections are left out, apart from those of other accounts."""
        return any((self.q, self.state, self.registration, self.type, self.site, self.encryption, self.problem))


_PARAMETERS = {field.name: field.default for field in fields(Query)}
"""The parameters and their defaults."""
_CHOICES = {"state": STATES, "registration": REGISTRATIONS, "problem": CONNECTION_PROBLEMS, "sort": SORTS}
"""The values of parameters that can't be any text."""
