import pytest
from sandbox_client import Clock

from exporter.sandbox import Account


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def account(clock):
    """Return an account that stands still."""
    return Account(clock=clock, step=0)
