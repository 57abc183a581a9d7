import os
from pathlib import Path

import pytest
from config_recorder import Recorder
from structlog.testing import capture_logs

from exporter.config.keys.key_file import KeyFile, describe_problem

OLD, NEW = "KEY0123-old", "KEY0123-new"

# Invalid contents and the reason. None means that there is no file, {} means a directory, a function creates the path.
BAD = [
    pytest.param(None, "No such file or directory", id="missing"),
    pytest.param({}, "Is a directory", id="directory"),
    pytest.param(os.mkfifo, "is not a regular file", id="pipe"),
    pytest.param(b"", "is empty", id="empty"),
    pytest.param(b" \t\n", "is empty", id="blank"),
    pytest.param(b"KEY0123 hush", "contains white space", id="white-space"),
    pytest.param(b"KEY0123\nhush", "contains white space", id="two-lines"),
    pytest.param(b"KEY0123\x00hush", "a control character", id="null"),
    pytest.param("KEY0123-hüsh".encode(), "a character outside ASCII", id="utf-8"),
    pytest.param(b"\xef\xbb\xbfKEY0123-hush", "a character outside ASCII", id="byte-order-mark"),
    pytest.param(b"\xff\xfeK\x00E\x00Y\x00", "a character outside ASCII", id="utf-16"),
    pytest.param(b"KEY0123-hush" * 400, "is larger than 4096 bytes", id="too-large"),
]


def key_file(path, recorder=None):
    return KeyFile(path, recorder or Recorder(), clock=lambda: 42.0)


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that contains a key."""
    path = tmp_path / "key"
    path.write_text(OLD, encoding="ascii")
    return path


def put(path, content):
    """Replace the file or directory at a path."""
    path.rmdir() if path.is_dir() else path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content):
        content(path)
    elif content is not None:
        path.mkdir()


@pytest.mark.parametrize("content", [OLD, f"{OLD}\n", f"\r\n {OLD}\t\r\n"], ids=["bare", "line", "white-space"])
def test_white_space_around_a_key_is_stripped(path, content):
    """White space around a key, such as the line break that editors append, is stripped."""
    path.write_bytes(content.encode())
    assert key_file(path)() == OLD


def test_file_of_the_maximum_size_is_read(path):
    """A file that has exactly the maximum size is read."""
    path.write_text("k" * 4096, encoding="ascii")
    assert key_file(path)() == "k" * 4096


def test_key_is_read_at_each_call(path):
    """A rotated key is used at the next call."""
    key = key_file(path)
    assert key() == OLD
    path.write_text(NEW, encoding="ascii")
    assert key() == NEW


def test_symlink_that_kubernetes_swaps_is_followed(tmp_path):
    """Kubernetes updates a mounted secret by replacing a symlink to its directory. The new key is used."""
    for name, content in (("..1", OLD), ("..2", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(content, encoding="ascii")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "key").symlink_to(Path("..data", "key"))
    key = key_file(tmp_path / "key")
    assert key() == OLD
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert key() == NEW


@pytest.mark.parametrize(("content", "problem"), BAD)
def test_unusable_file_is_rejected_at_startup(path, content, problem):
    """At startup there is no last key to keep, so an unusable file is an error. The error doesn't quote the content."""
    put(path, content)
    with pytest.raises((OSError, ValueError)) as caught:
        key_file(path)
    message = describe_problem(caught.value)
    assert problem in message
    assert "KEY0123" not in message


@pytest.mark.parametrize(("content", "problem"), BAD)
def test_unusable_file_keeps_the_last_key(path, content, problem):
    """If the file becomes unusable, the last key stays in use. One warning is logged, however often the file is read.

    A valid key is used again, and the recovery is logged once.
    """
    recorder = Recorder()
    key = key_file(path, recorder)
    put(path, content)
    with capture_logs() as logs:
        assert [key(), key(), key()] == [OLD] * 3
    (log,) = logs
    assert log["log_level"] == "warning"
    assert log["file"] == str(path)
    assert problem in log["problem"]
    assert "KEY0123" not in log["problem"] + log["event"]
    assert recorder.events == [("key", None)] * 3
    put(path, NEW.encode()) if path.exists() else path.write_bytes(NEW.encode())
    with capture_logs() as logs:
        assert [key(), key()] == [NEW] * 2
    assert [log["event"] for log in logs] == ["API key file is valid again"]
    assert recorder.events[3:] == [("key", 42.0)]


def test_each_new_problem_is_logged(path):
    """A different problem is logged, too, and so is the same problem after a valid key."""
    key = key_file(path)
    with capture_logs() as logs:
        for content in (b"", b"a b", b"a b", OLD.encode(), b"a b"):
            path.write_bytes(content)
            key()
    assert [log["problem"].split()[0] for log in logs if "problem" in log] == ["is", "contains", "contains"]


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (FileNotFoundError(2, "No such file or directory", "/run/KEY0123"), "No such file or directory"),
        (OSError("KEY0123"), "OSError"),
        (ValueError("is empty"), "is empty"),
    ],
    ids=["system", "other", "value"],
)
def test_problems_are_described_without_content(error, description):
    """A description is the operating system's message or the exporter's own. It never quotes the file."""
    assert describe_problem(error) == description
