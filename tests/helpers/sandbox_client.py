"""An HTTP client of a sandbox in this process."""

from dataclasses import dataclass

import httpx

from exporter.sandbox import create_app

KEY = "KEY0123-secret"
PATH = "/v2/credential_connections"
NOW = 1_790_000_000.0  # 2026-09-21, after every generated time, and 40 seconds before a minute is full


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def get(account, path=PATH, *, rate_limit=0, key=KEY, method="GET", **params):
    """Return the answer of a fresh app for this account."""
    app = create_app(account, api_key=KEY, rate_limit=rate_limit)
    async with client_of(app, key) as client:
        return await client.request(method, path, params=params)


def client_of(app, key=KEY):
    """Return a client of the app, with the key if there is one."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox", headers=headers)


def ids(response):
    """Return the ids of a page, in its order."""
    return [row["id"] for row in response.json()["data"]]
