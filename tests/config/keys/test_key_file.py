import pytest
from config_recorder import Recorder
from key_mounts import BAD, Secret, put
from structlog.testing import capture_logs

from exporter.config.keys.key_file import KeyFile, describe_problem

OLD, NEW = "KEY0123-old", "KEY0123-new"


def key_file(path, recorder=None):
    return KeyFile(path, recorder or Recorder(), clock=lambda: 42.0)


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that contains a key."""
    path = tmp_path / "key"
    path.write_text(OLD, encoding="ascii")
    return path


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


def test_rotated_secret_of_kubernetes_is_read(tmp_path):
    """Kubernetes updates a mounted Secret by replacing a symlink to its directory. The new key is used."""
    secret = Secret(tmp_path)
    secret.update({"key": OLD})
    key = key_file(tmp_path / "key")
    assert key() == OLD
    secret.update({"key": NEW})
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
