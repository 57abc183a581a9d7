import os
from pathlib import Path

import pytest

from exporter.config.files import read_file


def test_files_are_read_up_to_the_size_limit(tmp_path):
    """A file that has exactly the maximum size is read. With one more byte it is rejected."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match=r"^is larger than 4 bytes$"):
        read_file(tmp_path / "file", 4)


def test_missing_files_raise_the_error_of_the_system(tmp_path):
    """A file that can't be opened raises the operating system's error."""
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "file", 5)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_files_that_are_not_regular_are_rejected(tmp_path, kind):
    """Anything that is not a regular file is rejected at once: a pipe could block forever, and a device has no end."""
    if kind == "pipe":
        os.mkfifo(tmp_path / "file")
    elif kind == "device":
        (tmp_path / "file").symlink_to("/dev/zero")
    else:
        (tmp_path / "file").mkdir()
    with pytest.raises((ValueError, IsADirectoryError), match=r"is not a regular file|Is a directory"):
        read_file(tmp_path / "file", 5)


def test_rejected_files_are_closed(tmp_path):
    """A rejected file leaves no open file descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, 5)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
