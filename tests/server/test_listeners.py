import contextlib
import socket
import stat
import subprocess
import sys

import pytest
from socket_activation import passing

from exporter.server.listeners import listen, local_url


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


def test_a_port_in_use_is_an_error():
    """Listening on the port of another socket raises an error."""
    with listen("127.0.0.1:0") as first, pytest.raises(OSError, match="in use"):
        listen(f"127.0.0.1:{first.getsockname()[1]}")


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
        with pytest.raises(OSError, match="in use"):
            listen(f"unix://{path}")
        assert path.is_socket()


def test_a_path_that_is_a_file_is_an_error(path):
    """A regular file at the path is an error. The file is not removed."""
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="File exists"):
        listen(f"unix://{path}")
    assert path.read_text() == "mine"


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
except ValueError as error:
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
