"""The status of a collector, and the `telnyx_collector_*` metrics that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.collectors.families import Family
from exporter.exposition.renderer import render_families
from exporter.telnyx.errors import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from exporter.account.refresh import View
    from exporter.collectors.families import Sample
    from exporter.exposition.response import FamilyBlocks


@dataclass(frozen=True, slots=True)
class _StatusFamily(Family):
    """A metric family about a collector. Its first label is the collector's name."""

    samples: Callable[[CollectorStatus, View | None], Iterable[Sample]]


class CollectorStatus:
    """Records the results of a collector's refreshes. An account without a name is no label."""

    def __init__(self, name: str, account: str = "") -> None:
        self.name = name
        self.account = account
        self.success: bool | None = None
        """Whether the last refresh succeeded. None before the first one ends."""
        self.duration: float | None = None
        """Duration of the last refresh, in seconds."""
        self.last_success: float | None = None
        """When the last successful refresh ended, in Unix seconds."""
        self.refreshes = 0
        self.failures = dict.fromkeys(REASONS, 0)
        """The number of failed refreshes by reason."""

    def record_refresh(self, seconds: float, at: float) -> None:
        """Record a refresh that succeeded `at` this Unix time."""
        self.refreshes += 1
        self.success, self.duration, self.last_success = True, seconds, at

    def record_refresh_failure(self, seconds: float, reason: str) -> None:
        """Record a refresh that failed."""
        self.refreshes += 1
        self.success, self.duration = False, seconds
        self.failures[reason] += 1

    def adopt(self, previous: CollectorStatus, *, with_data: bool) -> None:
        """Continue the status of the same collector, or only its counters if the data is not the same."""
        self.failures = previous.failures
        if with_data:
            self.success, self.duration, self.last_success = previous.success, previous.duration, previous.last_success

    def render(self, view: View | None, is_exposed: Callable[[str], bool]) -> Sequence[FamilyBlocks]:
        """Render the exposed metrics. `view` is the collector's current data."""
        exposed = [family for family in STATUS_FAMILIES if is_exposed(family.name)]
        return render_families(exposed, [family.samples(self, view) for family in exposed], self.account)


class AnyUp:
    """Reports after each refresh whether the last refresh of any collector succeeded."""

    def __init__(self, statuses: Collection[CollectorStatus], report: Callable[[bool], None]) -> None:
        self._statuses = statuses
        self._report = report

    def update(self) -> None:
        """Report the present state."""
        self._report(any(status.success for status in self._statuses))

    def record_refresh(self, _seconds: float, _at: float) -> None:
        """Report after a refresh that succeeded."""
        self.update()

    def record_refresh_failure(self, _seconds: float, _reason: str) -> None:
        """Report after a refresh that failed."""
        self.update()


def _gauge(name: str, help_text: str, value: Callable[[CollectorStatus, View | None], float | None]) -> _StatusFamily:
    def samples(status: CollectorStatus, view: View | None) -> Iterable[Sample]:
        number = value(status, view)
        return () if number is None else (((status.name,), number),)

    return _StatusFamily(name, help_text, ("collector",), samples)


STATUS_FAMILIES: tuple[_StatusFamily, ...] = (
    _gauge(
        "telnyx_collector_success",
        "Whether the collector's last refresh succeeded (1) or not (0).",
        lambda status, _: None if status.success is None else int(status.success),
    ),
    _gauge(
        "telnyx_collector_duration_seconds",
        "Duration of the collector's last refresh, in seconds.",
        lambda status, _: status.duration,
    ),
    _gauge(
        "telnyx_collector_last_success_timestamp_seconds",
        "Time of the collector's last successful refresh, in Unix seconds.",
        lambda status, _: status.last_success,
    ),
    _gauge(
        "telnyx_collector_rows",
        "Number of rows that the collector exposes.",
        lambda _, view: None if view is None else view.row_count,
    ),
    _gauge(
        "telnyx_collector_malformed_rows",
        "Number of rows that the collector left out because it could not decode them; see the log.",
        lambda _, view: None if view is None else view.malformed,
    ),
    _gauge(
        "telnyx_collector_missing_rows",
        "Number of rows that the list's total includes but that no page contained.",
        lambda _, view: None if view is None else view.missing,
    ),
    _StatusFamily(
        "telnyx_collector_failures_total",
        "Number of failed refreshes of the collector, by reason.",
        ("collector", "reason"),
        lambda status, _: [((status.name, reason), count) for reason, count in status.failures.items()],
    ),
)
