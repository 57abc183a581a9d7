import pytest
from sandbox_client import error_of, get


@pytest.mark.parametrize("value", ["", "abc", "0", "-1", "1.5", "1e2", " 1", "1\n", "٣", "9" * 10, "9" * 5000, "\0"])
@pytest.mark.parametrize("name", ["page[number]", "page[size]"])
async def test_invalid_page_numbers_are_rejected(account, name, value):
    """A page number or size that is not a number in range is a bad request. The error names the parameter."""
    response = await get(account, **{name: value})
    assert error_of(response) == (400, "10015")
    assert response.json()["errors"][0]["source"] == {"parameter": name}
