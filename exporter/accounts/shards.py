"""Divides accounts among the exporters of a fleet: each account belongs to one shard."""

from __future__ import annotations

import hashlib
from functools import lru_cache

_MAX_NAMES = 2**15
"""How many owners are kept in memory."""


@lru_cache(_MAX_NAMES)
def owner_of(account: str, total_shards: int) -> int:
    """Return the shard that an account belongs to, from 0 to `total_shards - 1`.

    This is rendezvous hashing: the account belongs to the shard whose hash with the account's name is the highest. If a
    shard is added, it takes its part of the accounts, and no others move. The hash depends on nothing but its input, so
    that all exporters agree.
    """
    return max(range(total_shards), key=lambda shard: _weight(account, shard))


def _weight(account: str, shard: int) -> bytes:
    return hashlib.sha256(f"{shard}:{account}".encode()).digest()
