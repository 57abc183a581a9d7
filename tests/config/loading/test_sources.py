import pytest

from exporter.config.loading.sources import Sources
from exporter.config.options import OPTIONS

TTL = next(option for option in OPTIONS if option.flag == "--cache.ttl")
FLAG, VARIABLE, DOTENV = {"cache.ttl": "1s"}, {TTL.variable: "2s"}, {TTL.variable: "3s"}


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (Sources(FLAG, VARIABLE, DOTENV), ("--cache.ttl", "1s")),
        (Sources({}, VARIABLE, DOTENV), ("TELNYX_EXPORTER_CACHE__TTL", "2s")),
        (Sources({}, {}, DOTENV), ("TELNYX_EXPORTER_CACHE__TTL in .env", "3s")),
    ],
    ids=["flag", "variable", ".env"],
)
def test_sources_have_an_order(sources, found):
    """A flag takes precedence over the environment, and the environment over `.env`."""
    given = sources.find(TTL)
    assert (given.where, given.value) == found
    assert given.option is TTL


def test_option_that_is_not_set_is_not_found():
    """An option that no source sets is not found."""
    assert Sources({}, {}, {}).find(TTL) is None
