import pytest
import stamina
from list_reader import URL, Recorder
from stamina.instrumentation import set_on_retry_hooks


@pytest.fixture(autouse=True)
def no_waiting():
    """Retry as often as in production, but without waiting, and keep retries out of the log."""
    set_on_retry_hooks([])
    with stamina.set_testing(True, attempts=99, cap=True):
        yield
    set_on_retry_hooks(None)


@pytest.fixture
def recorder():
    """Return an observer that records its events."""
    return Recorder()


@pytest.fixture
def api(respx_mock):
    """Return the mocked list endpoint. Each test sets its responses."""
    return respx_mock.get(URL)
