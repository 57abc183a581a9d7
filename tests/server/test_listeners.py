import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile

import pytest
from socket_activation import passing

from exporter.server.listeners import ListenError, inherit_sockets, listen, local_url

MEASURES_COVERAGE = True


@pytest.mark.parametrize(
    ("address", "host"),
    [
        pytest.param("127.0.0.1:0", "127.0.0.1", id="IPv4"),
        pytest.param("[::1]:0", "[::1]", id="IPv6"),
        pytest.param("localhost:0", None, id="name"),
        pytest.param(":0", "localhost", id="all addresses"),
    ],
)
def test_listening(address, host):
    """A socket listens on the given address, and its URL can be opened in a browser."""
    with listen(address) as listener:
        port = listener.getsockname()[1]
        assert local_url(listener).endswith(f":{port}")
        assert host is None or local_url(listener) == f"http://{host}:{port}"


def test_all_addresses_include_ipv4_and_ipv6():
    """Without a host, both IPv4 and IPv6 clients can connect."""
    with listen(":0") as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_all_addresses_without_ipv6(monkeypatch):
    """Without a host, a machine without IPv6 listens on IPv4."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(":0") as listener:
        assert listener.family == socket.AF_INET
        assert local_url(listener).startswith("http://localhost:")


def failure(address):
    """Return why this address can't be bound, which is one line."""
    with pytest.raises(ListenError) as caught:
        listen(address)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", ""], ids=["IPv4", "IPv6", "all addresses"])
def test_a_port_in_use_is_an_error(host):
    """Listening on the port of another socket raises an error that says what to do."""
    with listen(f"{host}:0") as first:
        address = f"{host}:{first.getsockname()[1]}"
        assert failure(address) == "address already in use: stop the other program or choose another port"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64], ids=["unknown", "invalid", "too long"])
def test_an_unknown_host_is_an_error(host):
    """A host name that can't be resolved raises an error that says what to do."""
    assert failure(f"{host}:0") == "unknown host name: check it or write an IP address"


def test_an_address_of_another_machine_is_an_error():
    """An address that no interface has raises an error that says what to write."""
    problem = "this machine does not have this address: write another one, or :80 for all addresses"
    assert failure("192.0.2.77:80") == problem
    assert failure("[2001:db8::77]:80") == problem


def test_a_link_local_address_needs_an_interface():
    """A link-local address without an interface, or with an unknown one, raises an error that says so."""
    assert failure("[fe80::77]:1") == (
        "a link-local address needs the name of an interface: write [fe80::77%INTERFACE]:1"
    )
    assert failure("[fe80::77%nope7]:1") == "this machine has no network interface nope7"


def test_the_interface_of_an_address_is_used():
    """The interface in an IPv6 address is passed to the kernel, which rejects an address that it does not have."""
    problem = "this machine does not have this address: write another one, or :1 for all addresses"
    assert failure("[fe80::77%lo]:1") == problem


@pytest.mark.parametrize(
    ("number", "port", "problem"),
    [
        (errno.EACCES, 80, "permission denied: choose a port above 1023, or grant the capability CAP_NET_BIND_SERVICE"),
        (errno.EACCES, 8080, "Permission denied"),
        (errno.EAFNOSUPPORT, 80, "this machine has no IPv6: write an IPv4 address, or :80 for all addresses"),
        (errno.ENOBUFS, 80, "No buffer space available"),
    ],
)
def test_other_errors_of_ports(monkeypatch, number, port, problem):
    """Errors that depend on the machine have the same form."""

    def create_server(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_server", create_server)
    assert failure(f"[::1]:{port}") == problem


@pytest.fixture
def path(tmp_path):
    """Return the path of a Unix socket."""
    return tmp_path / "telnyx.sock"


def test_listening_on_a_path(path):
    """A Unix socket is removed when it is closed. With a usual umask, only its owner can connect."""
    with listen(f"unix://{path}"):
        assert path.is_socket()
        assert not path.stat().st_mode & stat.S_IWOTH
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_path_of_a_killed_process_is_replaced(path):
    """A socket file that a killed process left behind is replaced."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with listen(f"unix://{path}") as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()


def test_a_path_in_use_is_an_error(path):
    """Listening on the path of another process raises an error, even if that process is busy."""
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(0)
        client.connect(str(path))  # fills the backlog
        problem = failure(f"unix://{path}")
        assert problem == "another program listens on this path: stop it or choose another path"
        assert path.is_socket()


def test_a_path_that_is_a_file_is_an_error(path):
    """A regular file at the path is an error. The file is not removed."""
    path.write_text("mine")
    problem = "this path exists and is not a socket: remove it or choose another path"
    assert failure(f"unix://{path}") == problem
    assert path.read_text() == "mine"
    assert failure(f"unix://{path}/below") == f"{path} is not a directory: choose another path"


def test_a_path_in_a_missing_directory_is_an_error(path):
    """A path whose directory doesn't exist is an error that names the directory."""
    problem = f"the directory {path} does not exist: create it or choose another path"
    assert failure(f"unix://{path}/telnyx.sock") == problem


@pytest.mark.parametrize("length", [108, 300])
def test_a_long_path_is_an_error(length):
    """A path that is longer than the kernel accepts is an error that states the limit. One byte less is accepted."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/".ljust(length, "x")
        assert failure(f"unix://{path}") == "the path is too long: choose one of at most 107 bytes"
        listen(f"unix://{path[:107]}").close()


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.EACCES, "permission denied: run as a user who may write to {}, or choose another path"),
        (errno.EPERM, "permission denied: run as a user who may write to {}, or choose another path"),
        (errno.EROFS, "{} is read-only: choose another path"),
        (errno.ENOSPC, "No space left on device"),
    ],
)
def test_other_errors_of_paths(monkeypatch, path, number, problem):
    """Errors that depend on the machine have the same form."""

    def bind(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert failure(f"unix://{path}") == problem.format(path.parent)


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_closing_ignores_a_removed_or_replaced_path(path, replaced):
    """Closing a socket succeeds if its path was removed, and keeps a path that another socket has created."""
    with contextlib.ExitStack() as stack:
        with listen(f"unix://{path}"):
            path.unlink()
            if replaced:
                stack.enter_context(listen(f"unix://{path}"))
        assert path.exists() is replaced


INHERIT = """
import os, sys
from exporter.server.listeners import inherit_sockets
try:
    listeners = inherit_sockets()
except OSError as error:
    sys.exit(str(error))
assert not any(listener.get_inheritable() for listener in listeners)
assert not {"LISTEN_PID", "LISTEN_FDS"} & set(os.environ) or not listeners
print(*(listener.getsockname() for listener in listeners), sep=" and ")
"""


def inherited(*sockets, **options):
    """Start a process that inherits these sockets. Return their addresses as it prints them, and its error."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with passing(sys.executable, "-c", INHERIT, sockets=sockets, **pipes, **options) as process:
        out, err = process.communicate(timeout=20)
    return out.strip(), err.strip()


def test_sockets_from_systemd_are_inherited(path):
    """The exporter inherits sockets of any family from systemd. Its own child processes don't inherit them."""
    with listen("127.0.0.1:0") as one, listen(f"unix://{path}") as other:
        assert inherited(one, other) == (f"{one.getsockname()} and {path}", "")


def test_sockets_for_another_process_are_ignored():
    """Variables that systemd set for another process, such as the parent, are ignored."""
    with listen("127.0.0.1:0") as listener:
        assert inherited(listener, pid="1") == ("", "")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["connection", "datagrams"])
def test_sockets_that_do_not_listen_are_rejected(kind):
    """A socket that doesn't accept connections is rejected, and the error names the settings of the systemd unit."""
    with socket.socket(type=kind) as one:
        one.bind(("127.0.0.1", 0))
        assert inherited(one) == ("", "systemd passed a socket that does not listen; use ListenStream= and Accept=no")


def test_descriptors_that_are_no_sockets_are_rejected():
    """A file descriptor that isn't a socket is rejected, and the error says what to use."""
    reader, writer = os.pipe()
    with open(reader, "rb") as one, open(writer, "wb"):  # noqa: PTH123 -- descriptors
        assert inherited(one) == ("", "file descriptor 3 is not a socket; use only ListenStream= in the unit")


@pytest.mark.parametrize("count", ["", "x", "-1", "1" * 7])
def test_an_invalid_number_of_sockets_is_rejected(monkeypatch, count):
    """A number of sockets that systemd would not set is rejected."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(ListenError) as caught:
        inherit_sockets()
    assert str(caught.value) == (
        f"the variable LISTEN_FDS is {count!r}, not a number: start the exporter with a socket unit"
    )
