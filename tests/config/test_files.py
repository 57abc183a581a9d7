import os
from pathlib import Path

import pytest

from exporter.config.files import read_file


def test_files_are_read_up_to_their_bound(tmp_path):
    """A file of as many bytes as are allowed is read, one byte more is refused."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match=r"^is larger than 4 bytes$"):
        read_file(tmp_path / "file", 4)


def test_missing_files_are_the_systems_to_explain(tmp_path):
    """What can't be opened raises what the operating system says."""
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "file", 5)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_nothing_else_is_waited_for(tmp_path, kind):
    """What is not a regular file is refused at once: a pipe could be waited on for ever, and a device has no end."""
    if kind == "pipe":
        os.mkfifo(tmp_path / "file")
    elif kind == "device":
        (tmp_path / "file").symlink_to("/dev/zero")
    else:
        (tmp_path / "file").mkdir()
    with pytest.raises((ValueError, IsADirectoryError), match=r"is not a regular file|Is a directory"):
        read_file(tmp_path / "file", 5)


def test_nothing_stays_open(tmp_path):
    """What was refused is closed again."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, 5)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
