"""An HTTP client for a sandbox that runs in the test process."""

from dataclasses import dataclass

import httpx

from exporter.sandbox import create_app

KEY = "KEY0123-secret"
PATH = "/v2/credential_connections"
NOW = 1_790_000_000.0  # 2026-09-21, later than all generated times, and 40 seconds before the next full minute


@dataclass
class Clock:
    """A clock that moves only when a test sets `now`."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the current time."""
        return self.now


async def get(account, path=PATH, *, rate_limit=0, forbidden=(), key=KEY, method="GET", **params):
    """Send a request to a new app for this account and return the response."""
    app = create_app(account, api_key=KEY, rate_limit=rate_limit, forbidden=forbidden)
    async with client_of(app, key) as client:
        return await client.request(method, path, params=params)


def client_of(app, key=KEY):
    """Return a client for the app that sends the key, unless it is None."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox", headers=headers)


def ids(response):
    """Return the ids of the rows of a page, in order."""
    return [row["id"] for row in response.json()["data"]]


def error_of(response):
    """Return the status and the error code of a response with one error."""
    (error,) = response.json()["errors"]
    return response.status_code, error["code"]


def fields_of(row):
    """Return the values of a row by their paths, such as `inbound.channel_limit`."""
    fields = {}
    for name, value in row.items():
        nested = fields_of(value) if isinstance(value, dict) else {}
        fields |= {f"{name}.{inner}": each for inner, each in nested.items()} or {name: value}
    return fields
