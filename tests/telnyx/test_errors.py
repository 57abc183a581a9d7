import inspect
import re

import pytest

from exporter.telnyx import errors
from exporter.telnyx.errors import (
    REASONS,
    BadRequest,
    Forbidden,
    RateLimited,
    ServerError,
    StatusError,
    TelnyxError,
    Unauthorized,
    status_error,
)

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
LEAVES = [kind for kind in ERRORS if not kind.__subclasses__()]


def drawn():
    """Return each line of the docstring's tree as name, parent and reason."""
    path = []
    for line in errors.__doc__.split("\n\n")[1].splitlines():
        branch, name, reason = re.match(r'([│├└─ ]*)(\w+)(?: +reason "(\w+)")?', line).groups()
        depth = len(branch) // 4
        path[depth:] = [name]
        yield name, path[depth - 1] if depth else "Exception", reason


def test_the_tree_is_the_one_that_is_drawn():
    """The docstring draws every error below its base and with its reason, and nothing else."""
    tree = list(drawn())
    names = [name for name, _, _ in tree]

    assert len(names) == len(set(names))
    assert set(tree) == {(kind.__name__, kind.__base__.__name__, vars(kind).get("reason")) for kind in ERRORS}


def test_only_leaves_are_drawn_with_a_reason():
    """What can be raised has a reason, and what only groups others has none."""
    assert {name for name, _, reason in drawn() if reason} == {kind.__name__ for kind in LEAVES}


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_says_why_and_what_to_do(kind):
    """Every error has a reason fit for a label, and advice that is one sentence."""
    assert issubclass(kind, TelnyxError)
    assert re.fullmatch("[a-z]+(_[a-z]+)*", kind.reason)
    assert re.fullmatch(r"[A-Z].+\.", kind.advice)


def test_every_reason_is_listed_once():
    """REASONS are those of the leaves, each once."""
    assert len(REASONS) == len(set(REASONS))
    assert set(REASONS) == {kind.reason for kind in LEAVES}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, BadRequest),
        (408, ServerError),
        (409, BadRequest),
        (422, BadRequest),
        (429, RateLimited),
        (499, BadRequest),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
def test_a_status_has_its_error(status, kind):
    """Every HTTP status from 400 on is an error of the tree, which carries it."""
    error = status_error(status)

    assert type(error) is kind
    assert isinstance(error, StatusError)
    assert error.status == status
    assert error.retry_after is None
    assert str(error) == f"HTTP status {status}"


def test_an_error_says_telnyx_own_code():
    """Telnyx's error code is in the message, and the time to wait is at hand."""
    error = status_error(429, "10011", 7.5)

    assert str(error) == "HTTP status 429, Telnyx error 10011"
    assert error.retry_after == 7.5


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if not issubclass(kind, StatusError)])
def test_an_error_without_an_answer_names_no_time(kind):
    """Only the peer says how long to wait."""
    assert kind("in our own words").retry_after is None
