import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
import structlog
from programs import sandbox
from terminal import Screen, terminal

from exporter.commands.progress import show_progress
from exporter.config.settings import LogSettings
from exporter.logs import configure_logging
from exporter.sandbox import Account
from exporter.telnyx.lists.progress import NO_PROGRESS

MEASURES_COVERAGE = True
KEY = "KEY-of-tests"
ROWS = 400
TIMEOUT = 60
COMMAND = (sys.executable, "-m", "exporter", "--telnyx.page-size=20", "--telnyx.max-requests-per-second=1000")


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch):
    """Set the type of terminal, and no variables that change progress bars."""
    monkeypatch.setenv("TERM", "xterm")
    for name in [name for name in os.environ if name.startswith(("TQDM_", "TELNYX_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def api():
    """Yield the base URL of an account whose lists have several pages."""
    with sandbox(Account(ROWS), KEY) as url:
        yield url


def show(monkeypatch, use, **size):
    """Call a function with a function for progress, on a terminal, and return the screen."""
    with terminal(**size) as (stream, finish):
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("info", "logfmt")
        with show_progress(LogSettings()) as create_progress:
            use(create_progress)
        structlog.get_logger().info("later")
        output = finish()
    return Screen(output)


def test_progress_is_shown_and_removed(monkeypatch):
    """A bar shows the name, how much was read, and of how much, as soon as that is known. At the end, it is gone."""

    def use(create_progress):
        progress = create_progress("ip-connections", "pages")
        progress.record_progress(0, None)
        progress.record_progress(1, None)
        progress.record_progress(1, 4)
        progress.record_progress(2, 4)
        progress.record_end()
        progress.record_end()

    screen = show(monkeypatch, use)
    assert screen.states[0] == "ip-connections: 0/? pages"
    assert re.fullmatch("ip-connections: 1/4 pages \u2588+\\S?", screen.states[1])
    (line,) = screen.text
    assert line.endswith("msg=later")
    assert screen.lines[0] == line


def test_log_lines_appear_above_the_bars(monkeypatch):
    """Log lines are complete, in order and above the bars, also those from another thread."""

    def use(create_progress):
        for name in ("ip-connections", "fqdn-connections"):
            create_progress(name, "pages").record_progress(1, 3)
        for number in range(3):
            thread = threading.Thread(target=structlog.get_logger().info, args=(f"line{number}",))
            thread.start()
            thread.join()

    screen = show(monkeypatch, use)
    assert [line.rpartition("msg=")[2] for line in screen.text] == ["line0", "line1", "line2", "later"]
    assert screen.lines[:4] == screen.text


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (24, 20), (3, 80), (2, 30), (0, 0)])
def test_any_size_of_terminal(monkeypatch, rows, columns):
    """Bars fit into a narrow or low terminal. Without a size, none are shown. At the end, none remain."""

    def use(create_progress):
        for number in range(10):
            create_progress(f"collector-{number}", "connections").record_progress(number, 10)

    screen = show(monkeypatch, use, rows=rows, columns=columns)
    assert [line.rpartition("msg=")[2] for line in screen.text] == ["later"]
    shown = [state for state in screen.states if "msg=" not in state]
    assert max(map(len, shown), default=0) <= columns
    assert bool(shown) is bool(columns)


def test_an_error_removes_the_bars(monkeypatch):
    """An error removes the bars, too."""

    def use(create_progress):
        create_progress("ip-connections", "pages").record_progress(1, 3)
        raise KeyboardInterrupt

    with terminal() as (stream, finish):
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(KeyboardInterrupt), show_progress(LogSettings()) as create_progress:
            use(create_progress)
        assert Screen(finish()).text == []


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_a_terminal_without_a_cursor_shows_nothing(monkeypatch, name):
    """A terminal that can't move the cursor shows log lines only."""
    monkeypatch.setenv("TERM", name)

    def use(create_progress):
        progress = create_progress("ip-connections", "pages")
        assert progress is NO_PROGRESS
        progress.record_progress(1, 2)
        progress.record_end()

    assert len(show(monkeypatch, use).states) == 1


class Gone:
    """A terminal that can't be written to any more."""

    encoding = "ascii"

    def isatty(self):
        """Return that this is a terminal."""
        return True

    def write(self, _):
        """Fail."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    flush = fileno = lambda self: self.write("")


def test_a_terminal_that_is_gone_does_not_matter(monkeypatch):
    """If the terminal can't be written to, the command continues."""
    monkeypatch.setattr(sys, "stderr", Gone())
    with show_progress(LogSettings()) as create_progress:
        create_progress("ip-connections", "pages").record_progress(1, 2)
        structlog.get_logger().info("lost")


def test_sigterm_is_control_c_only_meanwhile(monkeypatch):
    """SIGTERM interrupts while progress is shown. Then it has its earlier effect."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "stderr", Gone())
    with pytest.raises(KeyboardInterrupt), show_progress(LogSettings()):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def run(api, *flags, **options):
    """Run the exporter on a terminal. Return the screen and the result, with standard output."""
    environment = {**os.environ, "TELNYX_API_KEY": KEY, "TELNYX_BASE_URL": api, **options}
    with terminal() as (stream, finish):
        process = subprocess.run(
            [*COMMAND, *flags],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=environment,
        )
        return Screen(finish()), process


@pytest.mark.parametrize("options", [{}, {"NO_COLOR": "1"}])
def test_once_shows_pages(api, tmp_path, monkeypatch, options):
    """`--once` shows the pages of each collector. Only the log remains, and standard output has only metrics."""
    monkeypatch.chdir(tmp_path)
    screen, process = run(api, "--once", "--collector.ip-connections", "--collector.balance", **options)
    assert process.returncode == 0
    states = {state.partition(" pages")[0] for state in screen.states}
    assert {"credential-connections: 1/20", "ip-connections: 1/4", "balance: 0/1"} <= states
    assert len(screen.text) == 3
    assert all(re.search("msg=refreshed collector=[a-z-]+ rows=", line) for line in screen.text)
    assert all(line.startswith(("#", "telnyx_")) for line in process.stdout.splitlines())
    assert f'telnyx_collector_rows{{collector="credential-connections"}} {ROWS}' in process.stdout


def test_a_complete_poll_shows_connections(api, tmp_path, monkeypatch):
    """`--once.complete` also shows how many connections were read, of all."""
    monkeypatch.chdir(tmp_path)
    flags = ("--collector.registrations", "--collector.registrations.rate=100")
    screen, process = run(api, "--once.complete", "--telnyx.filter.connection-name=acme", *flags)
    assert process.returncode == 0
    counts = [re.fullmatch(r"registrations: (\d+)/(\d+) connections.*", state) for state in screen.states]
    shown = [(int(count[1]), int(count[2])) for count in counts if count]
    assert shown[0][0] == 0
    assert shown == sorted(shown)
    assert len({total for _, total in shown}) == 1
    assert not [line for line in screen.text if not line.startswith("time=")]


def test_access_shows_requests(api, tmp_path, monkeypatch):
    """`--check-access` shows how many checks are done, of all. Nothing remains but the table on standard output."""
    monkeypatch.chdir(tmp_path)
    screen, process = run(api, "--check-access", "--collector.ip-connections")
    assert screen.states[0] == "access: 0/2 collectors"
    assert screen.text == []
    assert [line.split()[-1] for line in process.stdout.splitlines()] == ["ok", "ok"]


CHECK = """
import sys
from exporter.cli import main
status = main(sys.argv[1:])
assert not [name for name in sys.modules if name.partition(".")[0] == "tqdm"]
sys.exit(status)
"""


@pytest.mark.parametrize("mode", ["--once", "--check-access"])
def test_without_a_terminal_nothing_is_loaded(api, tmp_path, mode):
    """If standard error is not a terminal, the library for progress bars is not loaded, and the log is plain."""
    environment = {**os.environ, "TELNYX_API_KEY": KEY, "TELNYX_BASE_URL": api}
    process = subprocess.run(
        [sys.executable, "-c", CHECK, mode],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    pattern = r"time=\S+ level=info msg=refreshed collector=credential-connections rows=400 pages=2 seconds=\S+\n"
    assert re.fullmatch(pattern if mode == "--once" else "", process.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_the_bars(tmp_path, number):
    """Control-C and SIGTERM while the API doesn't respond leave nothing on the terminal."""
    with socket.create_server(("127.0.0.1", 0)) as silent, terminal() as (stream, finish):
        environment = {**os.environ, "TELNYX_API_KEY": KEY}
        environment["TELNYX_BASE_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([*COMMAND, "--once"], stderr=stream, env=environment, cwd=tmp_path)
        try:
            silent.settimeout(TIMEOUT)
            with silent.accept()[0] as connection:
                assert connection.recv(1) == b"G"  # the request
                process.send_signal(number)
                process.wait(TIMEOUT)
        finally:
            process.kill()
        assert process.returncode == 128 + signal.SIGINT
        screen = Screen(finish())
    assert screen.states[0] == "credential-connections: 0/? pages"
    assert screen.text == []
    assert screen.cursor == (0, 0)
