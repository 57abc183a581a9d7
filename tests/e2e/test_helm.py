"""The real exporter works as the Helm chart configures it: arguments, probes, scrapes and a rotated key."""

import contextlib
import functools
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import bcrypt
import certificates
import pytest
import yaml
from chart import (
    DEMO,
    EVERYTHING,
    SECRET,
    SECRETS,
    SHARDED,
    SHARDS,
    TLS,
    container,
    endpoint,
    object_of_kind,
    pod,
    render,
)
from key_mounts import Secret
from programs import START_TIMEOUT, get, running, sandbox, wait_until

from exporter.sandbox import Account

KEY = "KEY-of-tests"
SETTINGS = {"metrics.deny": r"python_.*\d?", "telnyx.page-size": 100, "web.enable-lifecycle": True}
"""A text, a number and a switch."""
EXTRA = ["--no-collector.balance", "--cache.ttl", "1m", "--log.level=debug"]
"""A switch, a flag with its value as the next argument, and one with both in one argument."""
INDEX = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
"""The value that Kubernetes replaces with the index of a pod in its StatefulSet."""
secret_at = functools.cache(Secret)


def mount_secrets(documents, folder, secrets, index=0):
    """Write the Secrets of a pod to a folder as the kubelet does, and return the arguments with the paths in it.

    `index` is the pod's index in its StatefulSet.
    """
    volumes = {volume["name"]: volume.get("secret") for volume in pod(documents)["spec"].get("volumes", ())}
    arguments = container(documents)["args"]
    for mount in container(documents).get("volumeMounts", ()):
        if secret := volumes[mount["name"]]:
            content = secrets[secret["secretName"]]
            items = secret.get("items") or [{"key": key, "path": key} for key in content]
            target = folder / mount["name"]
            secret_at(target).update({item["path"]: content[item["key"]] for item in items})
            arguments = [argument.replace(f"={mount['mountPath']}/", f"={target}/") for argument in arguments]
    for variable in container(documents).get("env", ()):
        if variable.get("valueFrom") == INDEX:
            arguments = [argument.replace(f"$({variable['name']})", str(index)) for argument in arguments]
    return arguments


def web_config(**settings):
    """Return the content of a Secret with a web configuration that turns TLS on."""
    server = certificates.identity("telnyx-exporter")
    config = {"tls_server_config": {"cert_file": "server.crt", "key_file": "server.key"}, **settings}
    return {"web-config.yml": yaml.safe_dump(config), "server.crt": server.pem, "server.key": server.key_pem}


def run(documents, folder, secrets, index=0):
    """Run the exporter with a pod's arguments, but on a free port of loopback."""
    arguments = mount_secrets(documents, folder, secrets, index)
    command = (sys.executable, "-m", "exporter", *arguments, "--web.listen-address=127.0.0.1:0")
    return running(*command, log=folder / "log")


def address(folder):
    return wait_until(lambda: re.search(r"page=\w+://(\S+?)/", (folder / "log").read_text()), "listening")[1]


def status(url):
    """Send a request as the kubelet does, which trusts every certificate, and return the status."""
    try:
        with urllib.request.urlopen(url, timeout=START_TIMEOUT, context=ssl._create_unverified_context()) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    "values",
    [
        SECRET,
        SECRETS,
        SHARDS,
        SHARDED,
        DEMO,
        TLS,
        EVERYTHING,
        {**SECRET, "settings": SETTINGS},
        {**SECRET, "extraArgs": EXTRA},
    ],
    ids=["key", "keys", "shards", "all of shards", "demo", "tls", "everything", "settings", "arguments"],
)
def test_the_exporter_accepts_the_arguments(tmp_path, values):
    """The files that the arguments name exist, and the exporter accepts the arguments."""
    secrets = {"telnyx": {"api-key": KEY}, "telnyx-web": web_config()}
    secrets |= {"telnyx-accounts": {"acme": KEY, "beta": KEY}, "the-keys-secret": {"acme": KEY}}
    secrets |= {"the-key-secret": {"the.key": KEY}, "the-web-secret": {"the-web.yml": "http_server_config: {}"}}
    arguments = mount_secrets(render(values), tmp_path, secrets)
    command = [sys.executable, "-m", "exporter", *arguments, "--check-config"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=START_TIMEOUT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("values", "unauthenticated"),
    [
        ({**DEMO, "serviceMonitor": {"enabled": True}}, 200),
        ({**DEMO, "serviceMonitor": {"enabled": True}, "settings": {"web.telemetry-path": "/telnyx/metrics"}}, 200),
        ({**DEMO, "podMonitor": {"enabled": True}}, 200),
        ({**DEMO, "serviceMonitor": {"enabled": True}, "settings": {"web.route-prefix": "/telnyx"}}, 200),
        ({**DEMO, "podMonitor": {"enabled": True}, "settings": {"web.external-url": "https://a.example/telnyx"}}, 200),
        ({**TLS, **DEMO}, 401),
    ],
    ids=["plain", "path", "pod monitor", "prefix", "external URL", "TLS and users"],
)
def test_probes_and_scrapes_get_a_response(tmp_path, values, unauthenticated):
    """Probes and scrapes as in the manifest succeed. If there are users, a scrape without a password is rejected."""
    documents = render(values)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    secrets = {"telnyx-web": web_config(basic_auth_users={"prometheus": hashed})}
    with run(documents, tmp_path, secrets):
        host = address(tmp_path)
        for name in ("livenessProbe", "readinessProbe"):
            probe = container(documents)[name]["httpGet"]
            url = f"{probe['scheme'].lower()}://{host}{probe['path']}"
            wait_until(lambda url=url: status(url) == 200, url)
        scrape = endpoint(documents)
        assert status(f"{scrape['scheme']}://{host}{scrape['path']}") == unauthenticated


def test_the_stale_alert_uses_the_setting(tmp_path):
    """The exporter exposes the `cache.max-stale` setting as the metric that the rendered alert compares with."""
    documents = render({**DEMO, "settings": {"cache.max-stale": "30m"}, "prometheusRule": {"enabled": True}})
    (group,) = object_of_kind(documents, "PrometheusRule")["spec"]["groups"]
    (alert,) = (rule for rule in group["rules"] if rule.get("alert") == "TelnyxSnapshotStale")
    metric = alert["expr"].rpartition("> ")[2].strip()
    with run(documents, tmp_path, {}):
        samples = get(f"http://{address(tmp_path)}/metrics").splitlines()
    assert f"{metric} 1800.0" in samples


def test_a_rotated_key_is_used_without_a_restart(tmp_path):
    """If a rejected API key is replaced in the Secret, refreshes succeed once the file is updated."""
    with sandbox(Account(3, step=None), KEY) as api:
        values = {"apiKey": {"existingSecret": "mine", "key": "token"}}
        documents = render({**values, "settings": {"telnyx.base-url": api, "cache.ttl": "200ms"}})
        with run(documents, tmp_path, {"mine": {"token": "KEY-of-yesterday"}}) as process:
            host = address(tmp_path)
            ready = f"http://{host}{container(documents)['readinessProbe']['httpGet']['path']}"
            wait_until(lambda: "telnyx_up 0.0" in get(f"http://{host}/metrics"), "the rejection of the old key")
            assert status(ready) == 200
            secret_at(tmp_path / "api-key").update({"token": KEY})
            wait_until(lambda: "telnyx_up 1.0" in get(f"http://{host}/metrics"), "the use of the new key")
            assert status(ready) == 200
            assert process.poll() is None


def accounts_of(host):
    """Return the accounts that an exporter exposes, each with whether it can read Telnyx."""
    return dict(re.findall(r'^telnyx_up{account="([^"]*)"} (\S+)$', get(f"http://{host}/metrics"), re.MULTILINE))


def test_accounts_follow_the_secret_without_a_restart(tmp_path):
    """When the Secret changes, an account appears, another disappears, and a third uses its new key."""
    with sandbox(Account(3, step=None), KEY) as api:
        documents = render({**SECRETS, "settings": {"telnyx.base-url": api}})
        before, after = {"acme": "KEY-of-yesterday", "beta": KEY}, {"acme": KEY, "gamma": KEY}
        with run(documents, tmp_path, {"telnyx-accounts": before}) as process:
            host = address(tmp_path)
            wait_until(lambda: accounts_of(host) == {"acme": "0.0", "beta": "1.0"}, "the accounts of the Secret")
            secret_at(tmp_path / "api-keys").update(after)
            wait_until(lambda: accounts_of(host) == {"acme": "1.0", "gamma": "1.0"}, "the changed accounts")
            assert process.poll() is None


def test_shards_divide_the_accounts(tmp_path):
    """Each account of the Secret is in exactly one shard."""
    names = [f"account-{number}" for number in range(9)]
    with sandbox(Account(3, step=None), KEY) as api, contextlib.ExitStack() as stack:
        documents = render({**SHARDS, "settings": {"telnyx.base-url": api}})
        found = []
        for index in range(SHARDS["shards"]):
            folder = tmp_path / str(index)
            folder.mkdir()
            stack.enter_context(run(documents, folder, {"telnyx-accounts": dict.fromkeys(names, KEY)}, index))
            host = address(folder)
            found += wait_until(lambda host=host: accounts_of(host), "the accounts of a shard")
            samples = get(f"http://{host}/metrics").splitlines()
            assert {f"telnyx_exporter_shard_ordinal {index:.1f}", "telnyx_exporter_total_shards 3.0"} <= {*samples}
    assert sorted(found) == names
