import pytest
from sandbox_client import Clock

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS, RESOURCES


@pytest.fixture
def clock():
    """Return a clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def account(clock):
    """Return an account that changes only when a test changes it."""
    return Account(clock=clock, step=0)


@pytest.fixture(params=RESOURCES)
def path(request):
    """Return the path of each list below `/v2`."""
    return request.param


@pytest.fixture(params=CONNECTIONS)
def connection_path(request):
    """Return the path of each list of connections or applications below `/v2`."""
    return request.param
