import pytest

from exporter.files import read


def test_files_are_read_up_to_their_bound(tmp_path):
    """A file of as many bytes as are allowed is read, one byte more is refused."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match=r"^is larger than 4 bytes$"):
        read(tmp_path / "file", 4)


def test_missing_files_are_the_systems_to_explain(tmp_path):
    """What can't be opened raises what the operating system says."""
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "file", 5)
