import pytest

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS, RESOURCES
from exporter.sandbox.rows import ROW, iso_time

STEP = 45
PROFILES, NUMBERS, CREDENTIALS = "/outbound_voice_profiles", "/phone_numbers/slim", "/telephony_credentials"


@pytest.fixture
def account(clock):
    """Return an account that changes every 45 seconds."""
    return Account(clock=clock, step=STEP)


def history(account, clock, path, steps):
    """Return the rows of a list at the start, and after each step."""
    found = [account[path].rows[:]]
    for _ in range(steps):
        clock.now += STEP
        found.append(account[path].rows[:])
    return found


def values(row):
    """Return the fields of a row that it keeps when it is removed and added back."""
    return {name: value for name, value in row.items() if name not in ROW}


@pytest.mark.parametrize(("path", "pace"), [("/ips", 3), ("/fqdns", 5)])
def test_endpoints_are_removed_and_added_back(account, clock, path, pace):
    """The oldest endpoint is removed, and added back as a new row with the same values. Then the next one follows."""
    (first, second, *others), *later = history(account, clock, path, 4 * pace)
    lengths = [15 if (step // pace) % 2 == 0 else 14 for step in range(1, 4 * pace + 1)]
    assert [len(rows) for rows in later] == lengths
    assert later[pace - 1] == [second, *others]
    *rest, added = later[2 * pace - 1]
    assert rest == [second, *others]
    assert values(added) == values(first)
    assert added["created_at"] == added["updated_at"] > first["created_at"]
    assert later[3 * pace - 1] == [*others, added]
    assert values(later[4 * pace - 1][-1]) == values(second)


def test_a_connection_is_without_endpoints_for_a_while(account, clock):
    """The first IP that is removed is the only one of its connection."""
    owner = account["/ips"].rows[0]["connection_id"]
    counts = [sum(row["connection_id"] == owner for row in rows) for rows in history(account, clock, "/ips", 6)]
    assert counts == [1, 1, 1, 0, 0, 0, 1]


def test_profiles_are_disabled_and_enabled_again(account, clock):
    """One profile at a time is disabled for three minutes. Each has its turn."""
    seen = history(account, clock, PROFILES, 32)
    disabled = [[row["id"] for row in rows if not row["enabled"]] for rows in seen]
    turns = [disabled[step] for step in (4, 12, 20, 28)]
    assert sorted(row_id for turn in turns for row_id in turn) == [row["id"] for row in seen[0]]
    assert disabled == [turns[step // 8] if step % 8 >= 4 else [] for step in range(32)] + [[]]
    changed = next(row for row in seen[4] if not row["enabled"])
    assert changed["updated_at"] == iso_time(int((account.started + 4 * STEP) * 1000))


def test_a_number_is_ported_out_and_stays(account, clock):
    """One number at a time gets another status, and later is active again."""
    seen = history(account, clock, NUMBERS, 12)
    ported = [sum(row["status"] == "port-out-pending" for row in rows) for rows in seen]
    assert ported == [0] * 6 + [1] * 6 + [0]


def test_credentials_expire(account, clock):
    """A credential expires when its time has come, at the next step. Others stay as they are."""
    rows = account[CREDENTIALS]
    soon = rows.update(rows.rows[0]["id"], expired=False, expires_at=iso_time(int((clock.now + 50) * 1000)))
    before = rows.rows[:]
    clock.now += STEP
    assert account[CREDENTIALS].rows == before
    clock.now += STEP
    expected = soon | {"expired": True, "updated_at": iso_time(int(clock.now * 1000))}
    assert account[CREDENTIALS].rows == [expected, *before[1:]]
    clock.now += 6 * 86_400
    assert sum(row["expired"] for row in account[CREDENTIALS].rows) == 6


def test_all_incidents_occur_in_ten_minutes(account, clock):
    """In ten minutes, each list has something wrong, and is as before again."""
    paths = ("/ips", "/fqdns", PROFILES, NUMBERS)
    before = {path: account[path].rows[:] for path in paths}
    changed = dict.fromkeys(paths, 0)
    for _ in range(13):
        clock.now += STEP
        changed = {path: count + (account[path].rows != before[path]) for path, count in changed.items()}
    assert all(changed.values())


def test_other_lists_change_only_by_incidents(account, clock):
    """A list that belongs to connections never changes at random."""
    assert [path for path, resource in RESOURCES.items() if resource.random_changes] == list(CONNECTIONS)
    assert history(account, clock, "/ips", 2)[0] == account["/ips"].rows


def test_incidents_of_a_list_without_rows(clock):
    """Nothing happens to a list that a test emptied."""
    account = Account(clock=clock, step=STEP)
    for path in ("/ips", PROFILES, CREDENTIALS):
        for row in account[path].rows[:]:
            account[path].remove(row["id"])
    clock.now += 12 * STEP
    assert not any(account[path].rows for path in ("/ips", PROFILES, CREDENTIALS))
