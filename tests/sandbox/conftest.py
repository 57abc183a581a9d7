import pytest
from sandbox_client import Clock

from exporter.sandbox import Account


@pytest.fixture
def clock():
    """Return a clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def account(clock):
    """Return an account that changes only when a test changes it."""
    return Account(clock=clock, step=0)
