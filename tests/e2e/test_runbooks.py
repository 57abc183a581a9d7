"""The commands and queries of every runbook, run as they are written. `tests/helpers/runbooks.py` has their format."""

import contextlib
import datetime as dt
import ipaddress
import subprocess
import time
import urllib.error
from base64 import b64encode
from types import SimpleNamespace

import pytest
import yaml
from certificates import authority, identity, write
from cryptography import x509
from programs import ALL_COLLECTORS, exporter, find_program, get, get_json, prometheus, serve_api, wait_until
from quick_rules import quick_config
from runbook_log import JOURNAL, unknown_messages
from runbook_shell import Shell
from runbooks import RUNBOOKS, steps

from exporter.collectors.registry import COLLECTORS
from exporter.sandbox import Account, create_app
from exporter.sandbox.resources import RESOURCES

KEY = "KEY-canary-0123456789"
EXAMPLE_ID = "1381893374499453584"
"""The connection of the sandbox that README and runbooks use in their examples."""
CURL_CONFIG = f"""\
header = "Authorization: Bearer {KEY}"
header = "Content-Type: application/json"
globoff
silent
show-error
"""
"""The file that the commands of runbooks use. README.md says how to make it."""
SECRET_FIELDS = {
    *("password", "sip_password", "sip_username", "user_name", "username", "auth_username", "txt_value"),
    *("ip_authentication_token", "tech_prefix", "external_pin", "webhook_event_url", "webhook_event_failover_url"),
}
HEALTHY = {
    "active": True,
    "tags": ["production"],
    "encrypted_media": "SRTP",
    "registration_status": "Registered",
    "sip_uri_calling_preference": "internal",
    "webhook_event_url": "https://hooks.example/services/secret-canary",
    "inbound": {"channel_limit": 50},
    "outbound": {"channel_limit": 10, "outbound_voice_profile_id": "1293384261075731499"},
}
"""The example of the runbooks before the alerts."""
FAULTY = {
    "active": False,
    "tags": ["production"],
    "encrypted_media": None,
    "registration_status": "Failed",
    "password": "password-canary",  # the audit log has it, too
    "sip_uri_calling_preference": "unrestricted",
    "inbound": {"channel_limit": 10},
    "outbound": {"channel_limit": None},
}
"""The example of the runbooks when its alerts fire. Most are about active connections."""
DISABLED = ("TelnyxConnectionBecameDisabled", "TelnyxConnectionDisabled")
"""The runbooks that begin with a disabled connection."""
HISTORY = dt.timedelta(hours=3)
WITHOUT_RESULT = {
    "TelnyxApiDown": "no refresh fails",
    "TelnyxCollectorFailing": "no collector fails",
    "TelnyxConnectionsMalformed": "the exporter decodes all rows",
    "TelnyxConnectionsMissing": "the sandbox's lists are complete",
    "TelnyxConnectionsNearAccountLimit": "the account gains no connections",
    "TelnyxExporterClientsRefused": "the exporter refuses nobody",
    "TelnyxExporterDown": "the exporter runs",
    "TelnyxKeyRejected": "the key works",
    "TelnyxNoAccounts": "the exporter has one key",
    "TelnyxRateLimited": "the sandbox has no rate limit",
    "TelnyxShardMissing": "there are no shards",
    "TelnyxShardsDisagree": "there are no shards",
    "TelnyxSpendBlocked": "no product is blocked, and the spend doesn't grow",
}
"""The runbooks whose queries may all have no result here, with the reason. In others, each query has one."""
PATIENCE = 10.0
"""Seconds until Prometheus has seen the last change of the account."""
STAND_INS = {
    "sudo": {f"cat /etc/telnyx-exporter/{file}": KEY for file in ("api-key", "keys/acme")},
    "docker": {f"exec telnyx-exporter {command}": KEY for command in ("printenv TELNYX_API_KEY", "cat /keys/acme")},
    "kubectl": {
        f"get secret {secret} -o jsonpath={{.data.{name}}}": b64encode(KEY.encode()).decode()
        for secret, name in (("telnyx", "api-key"), ("telnyx-accounts", "acme"))
    },
    "journalctl": {"-u telnyx-exporter": JOURNAL},
}
"""The programs that runbooks use on other machines, with their command lines and what these print."""


def secrets(value, field=""):
    """Yield the secrets in a JSON value."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from secrets(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from secrets(each)
    elif field in SECRET_FIELDS and value:
        yield str(value)


def history(metrics, labels):
    """Return the metrics of the example connection, once a minute until five minutes ago, as OpenMetrics."""
    now = int(time.time())
    lines = [line for line in metrics.splitlines() if f'connection_id="{EXAMPLE_ID}"' in line]
    times = range(now - int(HISTORY.total_seconds()), now - 300, 60)
    found = []
    for line in lines:
        name, _, rest = line.partition("{")
        found += [f"{name}{{{labels},{rest} {at}" for at in times]
    return "\n".join([*found, "# EOF\n"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Run a sandbox with TLS, an exporter with all collectors, and a Prometheus that has the rules and a history."""
    folder = tmp_path_factory.mktemp("stack")
    ca = authority("Test CA")
    names = [x509.DNSName("api.telnyx.com"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    write(folder, identity("api.telnyx.com", *names, by=ca), ca)
    account = Account(step=0, clock=time.time)
    account.update(EXAMPLE_ID, **HEALTHY)
    ttls = [f"--collector.{collector.name}.ttl=1s" for collector in COLLECTORS if collector.default_ttl]
    flags = (*ALL_COLLECTORS, *ttls, "--cache.ttl=1s", f"--telnyx.ca-file={folder / 'ca.pem'}")
    with contextlib.ExitStack() as running:
        app = create_app(account, api_key=KEY, rate_limit=0)
        tls = {"ssl_certfile": str(folder / "server.crt"), "ssl_keyfile": str(folder / "server.key")}
        api_url = running.enter_context(serve_api(app, **tls)).replace("http:", "https:")
        exporter_url = running.enter_context(
            exporter(folder, f"--telnyx.base-url={api_url}", *flags, TELNYX_API_KEY=KEY)
        )
        exporter_address = exporter_url.removeprefix("http://")

        def metrics_of_example():
            metrics = get(f"{exporter_url}/metrics")
            return metrics if f'telnyx_connection_registered{{connection_id="{EXAMPLE_ID}"' in metrics else None

        metrics = wait_until(metrics_of_example, "the metrics of the example")
        (folder / "history").write_text(history(metrics, 'job="telnyx",instance="localhost:10142"'))
        promtool = [find_program("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
        subprocess.run([*promtool, folder / "history", folder / "data"], check=True, capture_output=True, timeout=60)
        config = yaml.safe_load(quick_config(folder, exporter_address))
        (target,) = config["scrape_configs"][0]["static_configs"]
        target["labels"] = {"instance": "localhost:10142"}
        url = running.enter_context(prometheus(folder, yaml.safe_dump(config)))

        def query(expression):
            return get_json(f"{url}/api/v1/query", query=expression)["data"]["result"]

        recorded = f'connection:telnyx_connection_registered:last_hour{{connection_id="{EXAMPLE_ID}"}}'
        wait_until(lambda: query(recorded), "a recorded rule")
        account.update(EXAMPLE_ID, **FAULTY)
        account.add(active=True, tags=[])
        account.add(inbound="malformed")
        firing = f'ALERTS{{alertname="TelnyxConnectionBecameDisabled",connection_id="{EXAMPLE_ID}"}}'
        wait_until(lambda: query(firing), "an alert")
        ports = {
            "api.telnyx.com:443": api_url.removesuffix("/v2").rpartition(":")[2],
            "localhost:10142": exporter_address.rpartition(":")[2],
            "localhost:9090": url.rpartition(":")[2],
        }
        lines = [f'connect-to = "{name}:127.0.0.1:{port}"' for name, port in ports.items()]
        curlrc = "\n".join([*lines, f'cacert = "{folder / "ca.pem"}"\n'])
        variables = {"TELNYX_BASE_URL": api_url, "TELNYX_EXPORTER_TELNYX__CA_FILE": str(folder / "ca.pem")}
        yield SimpleNamespace(account=account, url=url, curlrc=curlrc, variables=variables)


@pytest.fixture
def shell(stack, tmp_path):
    """Start a shell on whose machine Telnyx, the exporter and Prometheus have their usual addresses."""
    (tmp_path / ".curlrc").write_text(stack.curlrc)
    (tmp_path / ".env").write_text(f"TELNYX_API_KEY={KEY}\n")
    with Shell(tmp_path, STAND_INS, f"{KEY}\n", TELNYX_API_KEY=KEY, **stack.variables) as shell:
        yield shell


def problem_with_command(stack, shell, step):
    """Run a block. It succeeds, prints what is documented, and shows no secret, not even in the list of processes."""
    status, output, commands = shell.run(step.command)
    rows = [row for path in RESOURCES for row in stack.account[path].rows]
    for secret in (KEY, *secrets(rows)):
        if secret in output + commands:
            return f"shows a secret: {secret}\n{output}{commands}"
    if status:
        return f"exit status {status}, output:\n{output}"
    return None if step.accepts_output(output) else f"undocumented output:\n{output}"


def problem_with_query(stack, step, *, needs_result):
    """Run a query. It returns what is documented, and no Unix time. If it needs a result, wait for one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            response = get_json(f"{stack.url}/api/v1/query", query=step.command)["data"]
        except urllib.error.HTTPError as error:
            return f"rejected: {error.read().decode()}"
        if response["result"] or not needs_result:
            break
        if time.monotonic() > deadline:
            return "has no result. If that can't be otherwise here, add the runbook to `WITHOUT_RESULT`."
        time.sleep(0.2)
    scalar = response["resultType"] == "scalar"
    result = [{"metric": {}, "value": response["result"]}] if scalar else response["result"]
    series = [(each["metric"], each["value"][1]) for each in result]
    if any(1e9 < abs(float(value)) < 1e10 for _, value in series):
        return f"returns a Unix time: {series}"
    return None if step.accepts_result(series) else f"undocumented result:\n{series}"


def problem_with(stack, shell, page, step):
    """Return what is wrong with a block, or None."""
    if step.language == "promql":
        return problem_with_query(stack, step, needs_result=page.stem not in WITHOUT_RESULT)
    config = shell.home / ".telnyx.curl"
    saves_key = "| save_key" in step.command
    if saves_key:
        config.write_text("")
    problem = problem_with_command(stack, shell, step)
    if saves_key and (config.read_text(), config.stat().st_mode & 0o777) != (CURL_CONFIG, 0o600):
        return problem or f"the file lacks the key, or others can read it:\n{config.read_text()}"
    return problem


@pytest.mark.parametrize("path", [f"credential_connections/{EXAMPLE_ID}", "audit_events?page[size]=250"])
def test_responses_of_the_api_contain_secrets(shell, path):
    """A whole response contains a password, as Telnyx's do, so these tests notice a runbook that prints one."""
    (shell.home / ".telnyx.curl").write_text(CURL_CONFIG)
    _, output, _ = shell.run(f'curl -K ~/.telnyx.curl "https://api.telnyx.com/v2/{path}"')
    assert FAULTY["password"] in output


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_works_as_it_is_written(stack, shell, page):
    """Each block of a runbook can be pasted and prints what the list after it says. The first one exports variables."""
    stack.account.update(EXAMPLE_ID, **FAULTY | {"active": page.stem not in DISABLED})
    found = steps(page)
    assert found, "the page has no blocks"
    assert found[0].exports, "the first block doesn't only export variables"
    if page.stem != "README":
        (shell.home / ".telnyx.curl").write_text(CURL_CONFIG)
    for step in found:
        if problem := problem_with(stack, shell, page, step):
            pytest.fail(f"{page.name}, block {step.number}:\n{step.command}\n{problem}", pytrace=False)


def test_log_lines_exist():
    """The exporter logs each message of the journal that these tests use."""
    assert unknown_messages(JOURNAL) == []


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_log_lines_in_runbooks_exist(page):
    """The exporter logs each message that a runbook quotes."""
    assert unknown_messages(page.read_text()) == []
