"""Progress bars: one line for each resource that is being read. Import this only on a terminal: tqdm loads slowly."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from exporter.logs import ErrorIgnoringStream

if TYPE_CHECKING:
    from typing import TextIO

_FORMAT = "{desc}: {n_fmt}/{total_fmt} {unit} {bar}"


class _Line(tqdm):  # type: ignore[type-arg]  # it iterates over nothing
    monitor_interval = 0  # no thread


class Bars:
    """Shows bars on a terminal. It is also a stream, for log lines, which appear above the bars."""

    def __init__(self, terminal: TextIO) -> None:
        self._stream = ErrorIgnoringStream(terminal)
        self._bars: list[_Bar] = []
        _Line.set_lock(threading.RLock())  # the default one is for several processes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove all bars."""
        for bar in self._bars:
            bar.record_end()

    def create(self, name: str, unit: str) -> _Bar:
        """Return a bar. It appears when its progress is recorded."""
        bar = _Bar(name, unit, self._stream)
        self._bars.append(bar)
        return bar

    def write(self, text: str) -> None:
        """Write whole lines above the bars."""
        with _Line.external_write_mode(file=self._stream):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush the terminal."""
        self._stream.flush()


class _Bar:
    def __init__(self, name: str, unit: str, stream: ErrorIgnoringStream) -> None:
        self._name = name
        self._unit = unit
        self._stream = stream
        self._line: _Line | None = None

    def record_progress(self, done: int, total: int | None) -> None:
        """Show the bar in this state."""
        if self._line is None:
            self._line = _Line(
                desc=self._name,
                unit=self._unit,
                total=total,
                bar_format=_FORMAT,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
                miniters=1,
            )
        if total != self._line.total:
            self._line.total = total
            self._line.n = done
            self._line.refresh()
        else:
            self._line.update(done - self._line.n)

    def record_end(self) -> None:
        """Remove the bar."""
        if self._line is not None:
            self._line.close()
            self._line = None
