import contextlib
import os
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_mounts import BAD, Secret, put
from structlog.testing import capture_logs

from exporter.config.keys.key_files import NAME_RULE, AccountKey, KeyFiles, find_keys

A, B = "KEY0123-a", "KEY0123-b"
NOBODY = 65534
NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64).filter(
    lambda name: not name.startswith(".") and not name.upper().startswith("KEY")
)
"""Names that an account can have."""
FILE_NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


def keys_of(found):
    """Return the keys by account."""
    return {account: each.key for account, each in found.items()}


def write(directory, **contents):
    """Write key files."""
    for name, content in contents.items():
        (directory / name).write_text(content, encoding="ascii")


@pytest.fixture
def keys(tmp_path):
    """Return a directory of key files for the accounts `a` and `b`."""
    path = tmp_path / "keys"
    path.mkdir()
    write(path, a=A, b=f"{B}\n")
    return path


@pytest.fixture
def public():
    """Return a directory that all users can list, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def unprivileged():
    """Lose the right of root to read every file."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


# Which files are accounts


def test_each_file_is_an_account(keys):
    """Each file is an account. The accounts are sorted by name, and each knows its file."""
    write(keys, B=A)
    found = KeyFiles(f"{keys}/*").read()
    assert found == {"B": AccountKey(keys / "B", A), "a": AccountKey(keys / "a", A), "b": AccountKey(keys / "b", B)}
    assert list(found) == ["B", "a", "b"]


@pytest.mark.parametrize(
    ("pattern", "accounts"),
    [
        ("*", ["key_", "key_a", "key_b.txt", "keys", "other"]),
        ("key_*", ["a", "b.txt"]),
        ("key_*.txt", ["b"]),
        ("*.txt", ["key_b"]),
        ("key*s", []),
        ("k*keys", []),
        ("none*", []),
    ],
)
def test_name_is_what_the_star_matches(tmp_path, pattern, accounts):
    """The name of an account is the part of the file's name that the star stands for, at least one character."""
    for name in ("key_", "key_a", "key_b.txt", "keys", "other"):
        write(tmp_path, **{name: A})
    with capture_logs():  # the name that key_* finds in key_ is empty
        assert list(KeyFiles(f"{tmp_path}/{pattern}").read()) == accounts


def test_relative_pattern_is_below_the_working_directory(monkeypatch, keys):
    """A pattern without a directory matches files in the working directory."""
    monkeypatch.chdir(keys)
    assert keys_of(KeyFiles("*").read()) == {"a": A, "b": B}


def test_directories_are_skipped(keys):
    """Directories, and links to them, are no accounts, whatever their names are. Nothing is logged."""
    (keys / "directory").mkdir()
    (keys / "lost+found").mkdir()
    (keys / "link").symlink_to("directory")
    with capture_logs() as logs:
        assert list(KeyFiles(f"{keys}/*").read()) == ["a", "b"]
    assert not logs


def test_names_with_a_dot_in_front_are_skipped(keys):
    """Hidden files, which editors and Kubernetes create, are no accounts. Nothing is logged."""
    write(keys, **{".a.swp": "x", "..data": "x", "key_.x": "x"})
    with capture_logs() as logs:
        assert list(KeyFiles(f"{keys}/*").read()) == ["a", "b", "key_.x"]
        assert not KeyFiles(f"{keys}/key_*").read()
    assert not logs


@given(NAMES)
def test_valid_names_are_accounts(name):
    """Letters, digits, dots, hyphens and underscores can be in a name."""
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory), **{f"key_{name}": A})
        with capture_logs() as logs:
            assert keys_of(KeyFiles(f"{directory}/key_*").read()) == {name: A}
        assert not logs


@given(FILE_NAMES)
def test_any_file_name_is_handled(name):
    """A file is an account, or is skipped because of the dot in front, or is ignored with a warning."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            Path(directory, f"k{name}").write_text(A, encoding="ascii")
        except OSError:  # the file system has another opinion, for example on the length
            return
        with capture_logs() as logs:
            found = KeyFiles(f"{directory}/k*").read()
        is_name = set(name) <= set(string.ascii_letters + string.digits + "._-")
        if name.startswith("."):
            assert (list(found), len(logs)) == ([], 0)
        elif is_name and "KEY" not in name.upper():
            assert (list(found), len(logs)) == ([name], 0)
        elif not is_name:
            assert (list(found), len(logs)) == ([], 1)


@pytest.mark.parametrize(
    "name", ["a b", "a\nb", "ä", "a=b", "a" * 65, "KEY0123456789ABCDEF_c4n4ry", os.fsdecode(b"\xff")]
)
def test_file_with_another_name_is_ignored(keys, name):
    """A file whose name can't be an account's is ignored. One warning is logged, but no name that is an API key."""
    files = KeyFiles(f"{keys}/*")
    (keys / name).write_text(A)
    with capture_logs() as logs:
        assert [list(files.read()) for _ in range(3)] == [["a", "b"]] * 3
    (log,) = logs
    assert (log["event"], log["log_level"]) == ("API key file is ignored because of its name", "warning")
    assert log["problem"] == NAME_RULE
    assert log["file"] == str(keys / ("..." if name.startswith("KEY") else name))
    (keys / name).rename(keys / "c")
    assert list(files.read()) == ["a", "b", "c"]
    (keys / "c").rename(keys / name)
    with capture_logs() as logs:
        files.read()
    assert len(logs) == 1


def test_longest_name_is_an_account(keys):
    """A name can have 64 characters."""
    write(keys, **{"x" * 64: A})
    assert list(KeyFiles(f"{keys}/*").read()) == ["a", "b", "x" * 64]


@pytest.mark.parametrize("name", ["key20261128", "KEYDEADBEEF-x"])
def test_name_that_resembles_a_key_only_a_little_is_an_account(keys, name):
    """A name is rejected only if it begins like a key of Telnyx, not because it has a date."""
    write(keys, **{name: A})
    assert name in KeyFiles(f"{keys}/*").read()


# Unusable files


def test_key_is_not_in_the_representation(keys):
    """The representation of an account's key has its file, but not the key."""
    text = repr(KeyFiles(f"{keys}/*").read())
    assert str(keys / "a") in text
    assert "KEY0123" not in text


@pytest.mark.parametrize(("content", "problem"), [case for case in BAD if case.id not in {"missing", "directory"}])
def test_unusable_file_affects_only_its_account(keys, content, problem):
    """An unusable file is the problem of its account, at the start and later. No last key is kept.

    Each account has one warning, without the file's content. When the file is valid again, that is logged once.
    """
    files = KeyFiles(f"{keys}/*")
    put(keys / "a", content)
    with capture_logs() as logs:
        found = [files.read() for _ in range(3)][-1]
    assert keys_of(found) == {"a": None, "b": B}
    assert problem in found["a"].problem
    assert not found["b"].problem
    (log,) = logs
    assert (log["event"], log["log_level"]) == ("API key file is unusable", "warning")
    assert (log["account"], log["file"], log["problem"]) == ("a", str(keys / "a"), found["a"].problem)
    assert "KEY0123" not in f"{found}{log}"
    put(keys / "a", A.encode())
    with capture_logs() as logs:
        assert [keys_of(files.read()) for _ in range(2)] == [{"a": A, "b": B}] * 2
    assert logs == [
        {"event": "API key file is valid again", "log_level": "info", "account": "a", "file": str(keys / "a")}
    ]


@pytest.mark.parametrize(
    ("target", "problem"),
    [("nowhere", "No such file or directory"), ("a", "Too many levels of symbolic links"), ("b/x", "Not a directory")],
    ids=["dangling", "loop", "below a file"],
)
def test_link_that_leads_nowhere_is_unusable(keys, target, problem):
    """A link that leads nowhere is the problem of its account: the account exists, but its key doesn't."""
    (keys / "a").unlink()
    (keys / "a").symlink_to(target)
    with capture_logs() as logs:
        found = KeyFiles(f"{keys}/*").read()
    assert found == {"a": AccountKey(keys / "a", None, problem), "b": AccountKey(keys / "b", B)}
    assert len(logs) == 1


def test_file_that_cannot_be_read_is_unusable(public):
    """A file without the permission to read it is the problem of its account."""
    write(public, a=A, b=B)
    (public / "a").chmod(0o000)
    (public / "b").chmod(0o444)
    with unprivileged(), capture_logs():
        found = find_keys(f"{public}/*").keys
    assert found == {"a": AccountKey(public / "a", None, "Permission denied"), "b": AccountKey(public / "b", B)}


def test_files_of_a_directory_that_can_only_be_listed_are_unusable(public):
    """If the directory can be listed, but not entered, its accounts exist. Their files can't be read."""
    write(public, a=A)
    public.chmod(0o744)
    with unprivileged(), capture_logs():
        found = find_keys(f"{public}/*").keys
    assert found == {"a": AccountKey(public / "a", None, "Permission denied")}


def test_each_new_problem_is_logged(keys):
    """A different problem is logged, too, and so is the same problem after a valid key or a removal."""
    files = KeyFiles(f"{keys}/*")
    with capture_logs() as logs:
        for content in (b"", b"a b", b"a b", A.encode(), b"a b", None, b"a b"):
            put(keys / "a", content) if (keys / "a").exists() else (keys / "a").write_bytes(content)
            files.read()
    assert [log["problem"].split()[0] for log in logs if "problem" in log] == ["is", *["contains"] * 3]


# Changes


def test_accounts_come_and_go(keys):
    """Each read finds the files of that moment: new ones, changed ones, renamed ones, and not those that are gone."""
    files = KeyFiles(f"{keys}/*")
    write(keys, c=A)
    assert keys_of(files.read()) == {"a": A, "b": B, "c": A}
    write(keys, c=B)
    (keys / "a").rename(keys / "d")
    (keys / "b").unlink()
    with capture_logs() as logs:
        assert keys_of(files.read()) == {"c": B, "d": A}
    assert not logs


def test_secret_of_kubernetes(tmp_path):
    """Each key of a mounted Secret is an account. Updates add, rotate and remove accounts. Nothing is logged."""
    secret = Secret(tmp_path / "keys")
    secret.update({"a": A, "b": B})
    files = KeyFiles(f"{tmp_path}/keys/*")
    with capture_logs() as logs:
        assert keys_of(files.read()) == {"a": A, "b": B}
        secret.update({"b": A, "c": B})
        assert keys_of(files.read()) == {"b": A, "c": B}
    assert not logs


def test_secret_of_kubernetes_during_an_update(tmp_path):
    """During an update, a removed key is a link to nothing for a moment. Then its account goes, as the link does."""
    secret = Secret(tmp_path)
    secret.update({"a": A, "b": B})
    files = KeyFiles(f"{tmp_path}/*")
    secret.update({"b": B}, clean_up=False)
    with capture_logs() as logs:
        found = files.read()
    assert found == {
        "a": AccountKey(tmp_path / "a", None, "No such file or directory"),
        "b": AccountKey(tmp_path / "b", B),
    }
    assert len(logs) == 1
    secret.update({"b": B})
    assert keys_of(files.read()) == {"b": B}


def test_file_that_is_removed_while_the_others_are_read_is_no_account(keys):
    """A file that is removed after the directory was listed is no account, rather than an account with a problem."""

    def remove(account):
        (keys / "b").unlink(missing_ok=True)
        return bool(account)

    assert find_keys(f"{keys}/*", is_owned=remove).keys == {"a": AccountKey(keys / "a", A)}


# No file matches


def test_no_match_is_logged_once(keys):
    """If the last file goes, one warning is logged, and one line when files match again."""
    pattern = f"{keys}/*"
    files = KeyFiles(pattern)
    files.read()
    for name in ("a", "b"):
        (keys / name).unlink()
    for directory_exists in (True, False):
        with capture_logs() as logs:
            assert [files.read(), files.read()] == [{}, {}]
        expected = {"event": "no API key file matches", "log_level": "warning", "pattern": pattern}
        assert logs == [expected] * directory_exists
        if directory_exists:
            keys.rmdir()
    keys.mkdir()
    write(keys, a=A, c=B)
    with capture_logs() as logs:
        assert [keys_of(files.read()) for _ in range(2)] == [{"a": A, "c": B}] * 2
    expected = {"event": "API key files match again", "log_level": "info", "pattern": pattern, "files": 2}
    assert logs == [expected]
    for name in ("a", "c"):
        (keys / name).unlink()
    with capture_logs() as logs:
        files.read()
    assert len(logs) == 1


def test_no_match_at_first_is_not_logged(tmp_path):
    """The caller decides whether no match at startup is an error, so nothing is logged."""
    files = KeyFiles(f"{tmp_path}/none/*")
    with capture_logs() as logs:
        assert not files.read()
    (tmp_path / "none").mkdir()
    write(tmp_path / "none", a=A)
    with capture_logs() as later:
        assert files.read()
    assert not logs + later


def test_directory_that_is_a_file_is_an_error(keys):
    """If the path of the directory is a file, nothing can be listed."""
    with pytest.raises(NotADirectoryError) as caught:
        KeyFiles(f"{keys}/a/*").read()
    assert caught.value.strerror == f"{keys}/a can't be listed: Not a directory"


def test_directory_that_cannot_be_listed_is_an_error(public):
    """Without the permission to list the directory, which accounts there are is unknown."""
    public.chmod(0o711)
    with unprivileged(), pytest.raises(PermissionError):
        KeyFiles(f"{public}/*").read()


# Shards


def test_files_of_accounts_that_are_not_owned_are_not_read(keys):
    """Accounts of another shard are found, but their files are not read, and nothing is logged about them."""
    put(keys / "a", b"")
    with capture_logs() as logs:
        found = KeyFiles(f"{keys}/*", is_owned=lambda account: account == "b").read()
    assert found == {"a": AccountKey(keys / "a", None), "b": AccountKey(keys / "b", B)}
    assert not logs
