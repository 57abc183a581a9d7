import inspect
import re

import pytest

from exporter.telnyx import errors
from exporter.telnyx.errors import (
    REASONS,
    BadRequest,
    Forbidden,
    NotFound,
    ProxyFailed,
    ProxyForbidden,
    ProxyServerError,
    ProxyUnauthorized,
    RateLimited,
    ServerError,
    StatusError,
    TelnyxError,
    Unauthorized,
    proxy_error,
    status_error,
)

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
GROUPS = [TelnyxError, StatusError]
"""Classes that only group others and are never raised."""
RAISED = [kind for kind in ERRORS if kind not in GROUPS]


def documented():
    """Yield the name, base class and reason of each error in the docstring's tree."""
    path = []
    for line in errors.__doc__.split("\n\n")[1].splitlines():
        branch, name, reason = re.match(r'([│├└─ ]*)(\w+)(?: +reason "(\w+)")?', line).groups()
        depth = len(branch) // 4
        path[depth:] = [name]
        yield name, path[depth - 1] if depth else "Exception", reason


def test_the_documented_tree_matches_the_classes():
    """The docstring lists every error below its base class and with its reason, and nothing else."""
    tree = list(documented())
    names = [name for name, _, _ in tree]

    assert len(names) == len(set(names))
    assert set(tree) == {(kind.__name__, kind.__base__.__name__, vars(kind).get("reason")) for kind in ERRORS}


def test_only_raised_errors_have_a_reason():
    """Each error that can be raised has a reason, or inherits it. Classes that only group others have none."""
    reasons = {}
    for name, base, reason in documented():
        reasons[name] = reason or reasons.get(base)
    assert reasons == {kind.__name__: getattr(kind, "reason", None) for kind in ERRORS}


@pytest.mark.parametrize("kind", RAISED)
def test_every_error_has_a_reason_and_advice(kind):
    """Every error has a reason in snake case, for the label, and advice of one sentence."""
    assert issubclass(kind, TelnyxError)
    assert re.fullmatch("[a-z]+(_[a-z]+)*", kind.reason)
    assert re.fullmatch(r"[A-Z].+\.", kind.advice)


def test_every_reason_is_listed_once():
    """REASONS contains each reason of the errors that can be raised exactly once."""
    assert len(REASONS) == len(set(REASONS))
    assert set(REASONS) == {kind.reason for kind in RAISED}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
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
def test_each_status_has_an_error(status, kind):
    """Every HTTP status from 400 on has an error class. The error contains the status."""
    error = status_error(status)

    assert type(error) is kind
    assert isinstance(error, StatusError)
    assert error.status == status
    assert error.retry_after is None
    assert str(error) == f"HTTP status {status}"


def test_an_error_contains_the_telnyx_code():
    """The message contains Telnyx's error code, and `retry_after` is the delay in seconds."""
    error = status_error(429, "10011", 7.5)

    assert str(error) == "HTTP status 429, Telnyx error 10011"
    assert error.retry_after == 7.5


@pytest.mark.parametrize("kind", [kind for kind in RAISED if kind is not NotFound and kind.__base__ in RAISED])
def test_errors_with_the_same_reason_have_different_advice(kind):
    """An error that has the reason of its base class has other advice."""
    assert kind.reason == kind.__base__.reason
    assert kind.advice != kind.__base__.advice


@pytest.mark.parametrize(
    ("status", "kind", "is_temporary"),
    [
        (407, ProxyUnauthorized, False),
        (302, ProxyForbidden, False),
        (403, ProxyForbidden, False),
        (499, ProxyForbidden, False),
        (500, ProxyServerError, True),
        (502, ProxyServerError, True),
        (None, ProxyFailed, True),
    ],
)
def test_each_status_of_a_proxy_has_an_error(status, kind, is_temporary):
    """A proxy's refusal has an error for its status. It is temporary if the proxy failed itself."""
    error = proxy_error(status)

    assert type(error) is kind
    assert error.is_temporary is is_temporary
    assert ("HTTP status" in str(error)) == (status is not None)


@pytest.mark.parametrize("kind", [kind for kind in RAISED if not issubclass(kind, StatusError)])
def test_an_error_without_a_response_has_no_retry_after(kind):
    """Only the error of an HTTP response can have `retry_after`."""
    assert kind("in our own words").retry_after is None


def test_not_found_is_a_rejected_request():
    """A 404 is also a `BadRequest`, because some APIs reject a page past the end of a list with it."""
    assert issubclass(NotFound, BadRequest)
