"""The links of the status page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from exporter.config.web.paths import HEALTHY, READY, RUNBOOKS, STATUS
from exporter.status.query import Query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config.web.paths import WebPaths


@dataclass(frozen=True, slots=True)
class Links:
    """Where the page leads to, from the page for a query."""

    query: Query
    paths: WebPaths

    @property
    def home(self) -> str:
        """The page without parameters. The page's forms send their fields to it."""
        return self.paths.link("/")

    def page(self, **changes: str | int) -> str:
        """Return the link to this page with other parameters."""
        return self._url("/", self.query, **changes)

    def only(self, **filters: str) -> str:
        """Return the link to this page with no other filters, for the same account."""
        return self._url("/", Query(account=self.query.account), **filters)

    def sorted_by(self, column: str) -> str:
        """Return the link of a column's header: to this order, or back. The newest update comes first."""
        first, second = ("-updated", "updated") if column == "updated" else (column, f"-{column}")
        return self.page(sort=second if self.query.sort == first else first, page=1)

    @property
    def unfiltered(self) -> str:
        """This page without filters, for the same account and in the same order."""
        return self._url("/", Query(account=self.query.account, sort=self.query.sort))

    def runbook(self, name: str) -> str:
        """Return the link to a runbook."""
        return self.paths.link(RUNBOOKS) + quote(name, safe="")

    @property
    def exporter(self) -> Mapping[str, str]:
        """The other pages of the exporter, by their names."""
        return {
            "Metrics": self.paths.link(self.paths.telemetry_path),
            "Runbooks": self.paths.link(RUNBOOKS),
            "Status as JSON": self._url(STATUS, Query(account=self.query.account)),
            "Healthy": self.paths.link(HEALTHY),
            "Ready": self.paths.link(READY),
        }

    def _url(self, path: str, query: Query, **changes: str | int) -> str:
        """Return the link to a path, with the parameters of a query and these changes of it."""
        return self.paths.link(path) + query.link(**changes).removesuffix("?")
