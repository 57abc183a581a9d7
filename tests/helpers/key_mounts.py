"""Directories of API key files for tests."""

import itertools
import os
from pathlib import Path

import pytest

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
    pytest.param("KEY0123-hüsh".encode(), "a non-ASCII character", id="utf-8"),
    pytest.param(b"\xef\xbb\xbfKEY0123-hush", "a non-ASCII character", id="byte-order-mark"),
    pytest.param(b"\xff\xfeK\x00E\x00Y\x00", "a non-ASCII character", id="utf-16"),
    pytest.param(b"KEY0123-hush" * 400, "is larger than 4096 bytes", id="too-large"),
]


def put(path, content):
    """Replace the file or directory at a path."""
    path.rmdir() if path.is_dir() else path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content):
        content(path)
    elif content is not None:
        path.mkdir()


class Secret:
    """A directory in which Kubernetes has mounted a Secret.

    The keys of the Secret are links through `..data`, which is a link to the directory of the newest version. An update
    replaces that link, then adds and removes those of the keys, as `AtomicWriter` of the kubelet does.
    """

    def __init__(self, path):
        self._path = path
        self._numbers = itertools.count()
        path.mkdir(exist_ok=True)

    def update(self, contents, *, clean_up=True):
        """Replace the contents of the Secret. Without `clean_up`, stop before links of removed keys are removed."""
        version = self._path / f"..2026_11_28_17_00_00.{next(self._numbers)}"
        version.mkdir()
        for name, content in contents.items():
            (version / name).write_text(content, encoding="ascii")
        new = self._path / "..data_tmp"
        new.symlink_to(version.name)
        old = (self._path / "..data").resolve() if (self._path / "..data").is_symlink() else None
        new.rename(self._path / "..data")
        for name in contents:
            if not (self._path / name).is_symlink():
                (self._path / name).symlink_to(Path("..data", name))
        if clean_up:
            for link in self._path.iterdir():
                if not link.name.startswith("..") and link.name not in contents:
                    link.unlink()
        if old:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
