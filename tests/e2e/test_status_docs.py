"""The commands of docs/status-page.md and of runbooks that read `/api/v1/status`, while something is wrong and not.

The lists below the commands have the format of runbooks.
"""

import contextlib
import re
import time
from pathlib import Path

import pytest
from programs import exporter, get, get_json, sandbox, serve_api, wait_until
from runbook_shell import Shell
from runbooks import RUNBOOKS, steps

from exporter.sandbox import Account, create_app

KEY = "KEY-of-tests"
DOCUMENT = Path(__file__).parents[2] / "docs" / "status-page.md"
COMMANDS = {
    f"{page.stem}-{step.number}": step
    for page in (DOCUMENT, *RUNBOOKS)
    for step in steps(page)
    if "/api/v1/status" in step.command and "PROMETHEUS" not in step.command
}


@contextlib.contextmanager
def shell_of(folder, url):
    """Yield a shell on whose machine the exporter has its usual address."""
    (folder / ".curlrc").write_text(f'connect-to = "localhost:10142:{url.removeprefix("http://")}"\n')
    with Shell(folder, {}, "", EXPORTER_URL="http://localhost:10142") as shell:
        yield shell


@pytest.fixture(scope="module", params=[False, True], ids=["healthy", "faulty"])
def shell(request, tmp_path_factory):
    """Yield a shell, and whether a connection was disabled since the start and all collectors fail."""
    is_faulty, folder = request.param, tmp_path_factory.mktemp("exporter")
    account, forbidden = Account(3, step=0, clock=time.time), []
    for row in account.rows:
        fields = {"encrypted_media": "SRTP", "registration_status": "Registered", "outbound": {"channel_limit": 10}}
        account.update(row["id"], active=True, **fields)
    flags = ("--collector.balance", "--collector.balance.ttl=1s", "--cache.ttl=1s")
    with (
        serve_api(create_app(account, api_key=KEY, forbidden=forbidden)) as api,
        exporter(folder, f"--telnyx.base-url={api}", *flags, TELNYX_API_KEY=KEY) as url,
        shell_of(tmp_path_factory.mktemp("home"), url) as shell,
    ):

        def status():
            get(f"{url}/metrics")  # refreshes what is due
            return get_json(f"{url}/api/v1/status")

        wait_until(lambda: all(each["rows"] for each in status()["collectors"]), "the first refreshes")
        if is_faulty:
            account.update(account.rows[0]["id"], active=False)
            wait_until(lambda: status()["changes"], "a change")
            forbidden += ["/balance", "/credential_connections"]
            wait_until(lambda: all(each["reason"] for each in status()["collectors"]), "the failures")
        yield shell, is_faulty


def test_the_commands_are_found():
    """There are commands in the document, and in the runbooks about collectors and accounts."""
    names = [name.partition("-")[0] for name in COMMANDS if name.startswith("Telnyx")]
    assert names == ["TelnyxApiDown", "TelnyxCollectorFailing", "TelnyxNoAccounts", "TelnyxSnapshotStale"]
    assert len(COMMANDS) - len(names) == 4


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_works_as_it_is_written(shell, name):
    """A command prints what the list after it says. If something is wrong, it says so, and only `jq -e` fails."""
    shell, is_faulty = shell
    step = COMMANDS[name]
    status, output, _ = shell.run(step.command)
    assert step.accepts_output(output), output
    assert status == (1 if is_faulty and "jq -e" in step.command else 0)
    assert not is_faulty or re.search("false|fail|[Cc]an't read|disabled|forbidden", output), output


def test_the_runbook_finds_that_there_are_no_accounts(tmp_path):
    """The command of the runbook says so if the last API key file disappears."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "acme").write_text(KEY)
    (name,) = (name for name in COMMANDS if name.startswith("TelnyxNoAccounts"))
    with sandbox(Account(3), KEY) as api:
        flags = (f"--telnyx.base-url={api}", f"--telnyx.api-key-files={keys}/*")
        with exporter(tmp_path, *flags) as url, shell_of(tmp_path, url) as shell:
            (keys / "acme").unlink()
            wait_until(lambda: not get_json(f"{url}/api/v1/status")["collectors"], "the end of the account")
            _, output, _ = shell.run(COMMANDS[name].command)
    assert output == "No API key file matches --telnyx.api-key-files.\n"
    assert COMMANDS[name].accepts_output(output)
