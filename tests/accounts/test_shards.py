import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.accounts.shards import owner_of

ACCOUNTS = [f"customer-{number}" for number in range(4000)]
TOTALS = (1, 2, 3, 5, 10)

# The owners for each of TOTALS. If one changes, exporters of two versions read an account twice, or not at all.
OWNERS = {
    "acme": (0, 0, 0, 4, 9),
    "globex": (0, 0, 0, 0, 8),
    "initech": (0, 1, 1, 4, 5),
    "hooli": (0, 1, 1, 3, 5),
    "a": (0, 0, 2, 2, 2),
    "A": (0, 0, 2, 2, 9),
    "customer-42": (0, 0, 0, 3, 3),
    "eu.west_1": (0, 0, 2, 4, 4),
    "x" * 64: (0, 0, 0, 0, 7),
}


@pytest.mark.parametrize(("account", "owners"), OWNERS.items())
def test_owners_are_stable(account, owners):
    """The owner of an account is the same on each machine and in each version of the exporter."""
    assert tuple(owner_of(account, total) for total in TOTALS) == owners


def test_owners_are_the_same_in_each_process():
    """Nothing random, such as the hash of a string in Python, decides about the owner."""
    code = f"from exporter.accounts.shards import owner_of; print([owner_of(a, 7) for a in {ACCOUNTS[:50]!r}])"
    command = [sys.executable, "-c", code]
    outputs = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{[owner_of(account, 7) for account in ACCOUNTS[:50]]}\n"}


@given(st.text(max_size=64), st.integers(1, 50))
def test_owner_is_one_of_the_shards(account, total):
    """The owner is a shard from 0 to the number of shards minus 1."""
    assert 0 <= owner_of(account, total) < total


@pytest.mark.parametrize("total", [2, 3, 7, 10])
def test_shares_are_about_equal(total):
    """Each shard has about as many accounts as the others."""
    shares = Counter(owner_of(account, total) for account in ACCOUNTS)
    assert len(shares) == total
    for share in shares.values():
        assert share == pytest.approx(len(ACCOUNTS) / total, rel=0.15)


@pytest.mark.parametrize("total", [1, 2, 3, 9])
def test_new_shard_takes_only_its_part(total):
    """With one shard more, about 1 of so many accounts as there are shards moves, and each of them to the new shard."""
    owners = {account: (owner_of(account, total), owner_of(account, total + 1)) for account in ACCOUNTS}
    moved = [after for before, after in owners.values() if before != after]
    assert set(moved) == {total}
    assert len(moved) == pytest.approx(len(ACCOUNTS) / (total + 1), rel=0.15)


def test_an_owner_is_determined_once():
    """The owner of an account is determined once, because thousands of key files are read every few seconds."""
    before = owner_of.cache_info()
    assert len({owner_of("determined once", 1000) for _ in range(100)}) == 1
    after = owner_of.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 99)
