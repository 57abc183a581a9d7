import pytest


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests on plain asyncio; the real server's uvloop has tests of its own."""
    return ("asyncio", {"use_uvloop": False})
