"""What the Helm chart asks of the exporter, asked of the real one: arguments, probes, scrapes, a rotated key."""

import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import bcrypt
import certificates
import pytest
import yaml
from chart import DEMO, EVERYTHING, SECRET, TLS, container, object_of_kind, pod, render
from programs import START_TIMEOUT, get, running, sandbox, wait_until

from exporter.sandbox import Account

KEY = "KEY-of-tests"
SETTINGS = {"metrics.deny": r"python_.*\d?", "telnyx.page-size": 100, "web.enable-lifecycle": True}
"""Text, a number and a switch."""


def mount(documents, folder, secrets):
    """Lay out the pod's Secrets in a folder as the kubelet does, and return the arguments with their paths there."""
    volumes = {volume["name"]: volume.get("secret") for volume in pod(documents)["spec"].get("volumes", ())}
    arguments = container(documents)["args"]
    for each in container(documents).get("volumeMounts", ()):
        if secret := volumes[each["name"]]:
            content = secrets[secret["secretName"]]
            items = secret.get("items") or [{"key": key, "path": key} for key in content]
            here = folder / each["name"]
            here.mkdir()
            project(here, {item["path"]: content[item["key"]] for item in items})
            arguments = [argument.replace(f"={each['mountPath']}/", f"={here}/") for argument in arguments]
    return arguments


def project(here, files):
    """Put these files into a folder, or others in their place, with one rename."""
    version = here / f"..{len(list(here.iterdir()))}"
    version.mkdir()
    for name, text in files.items():
        (version / name).write_text(text)
        if not (here / name).is_symlink():
            (here / name).symlink_to(Path("..data") / name)
    (here / "..next").symlink_to(version.name)
    (here / "..next").replace(here / "..data")


def web_config(**more):
    """Return what a Secret with TLS holds."""
    server = certificates.identity("telnyx-exporter")
    config = {"tls_server_config": {"cert_file": "server.crt", "key_file": "server.key"}, **more}
    return {"web-config.yml": yaml.safe_dump(config), "server.crt": server.pem, "server.key": server.key_pem}


def run(documents, folder, secrets):
    """Run the exporter as the pod does, on a port of its own, and give its address with how it is reached."""
    arguments = mount(documents, folder, secrets)
    command = (sys.executable, "-m", "exporter", *arguments, "--web.listen-address=127.0.0.1:0")
    return running(*command, log=folder / "log")


def address(folder):
    return wait_until(lambda: re.search(r"page=\w+://(\S+?)/", (folder / "log").read_text()), "listening")[1]


def status(url):
    """Ask as the kubelet does, which trusts every certificate, and return the status."""
    try:
        with urllib.request.urlopen(url, timeout=START_TIMEOUT, context=ssl._create_unverified_context()) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    "values",
    [SECRET, DEMO, TLS, EVERYTHING, {**SECRET, "settings": SETTINGS}],
    ids=["key", "demo", "tls", "everything", "settings"],
)
def test_the_exporter_takes_the_arguments(tmp_path, values):
    """Each file is where the arguments say, and the exporter has nothing against them."""
    secrets = {"telnyx": {"api-key": KEY}, "telnyx-web": web_config()}
    secrets |= {"the-key-secret": {"the.key": KEY}, "the-web-secret": {"the-web.yml": "http_server_config: {}"}}
    arguments = mount(render(values), tmp_path, secrets)
    command = [sys.executable, "-m", "exporter", *arguments, "--check-config"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=START_TIMEOUT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("values", "unauthenticated"),
    [
        ({**DEMO, "serviceMonitor": {"enabled": True}}, 200),
        ({**DEMO, "serviceMonitor": {"enabled": True}, "settings": {"web.telemetry-path": "/telnyx/metrics"}}, 200),
        ({**TLS, **DEMO}, 401),
    ],
    ids=["plain", "path", "TLS and users"],
)
def test_probes_and_scrapes_are_answered(tmp_path, values, unauthenticated):
    """Kubelet and Prometheus ask as the manifest says, and get what they need; without a password, a scrape may not."""
    documents = render(values)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    secrets = {"telnyx-web": web_config(basic_auth_users={"prometheus": hashed})}
    with run(documents, tmp_path, secrets):
        host = address(tmp_path)
        for name in ("livenessProbe", "readinessProbe"):
            probe = container(documents)[name]["httpGet"]
            url = f"{probe['scheme'].lower()}://{host}{probe['path']}"
            wait_until(lambda url=url: status(url) == 200, url)
        (endpoint,) = object_of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
        assert status(f"{endpoint['scheme']}://{host}{endpoint['path']}") == unauthenticated


def test_the_stale_alert_knows_the_setting(tmp_path):
    """With another `cache.max-stale`, the exporter exposes it, and the rendered alert compares with what it exposes."""
    documents = render({**DEMO, "settings": {"cache.max-stale": "30m"}, "prometheusRule": {"enabled": True}})
    (group,) = object_of_kind(documents, "PrometheusRule")["spec"]["groups"]
    (alert,) = (rule for rule in group["rules"] if rule.get("alert") == "TelnyxSnapshotStale")
    metric = alert["expr"].rpartition("> ")[2].strip()
    with run(documents, tmp_path, {}):
        samples = get(f"http://{address(tmp_path)}/metrics").splitlines()
    assert f"{metric} 1800.0" in samples


def test_a_rotated_key_is_used_without_a_restart(tmp_path):
    """A key that Telnyx refuses is replaced in the Secret, and once the file is renewed, refreshes are good."""
    with sandbox(Account(3, step=None), KEY) as api:
        values = {"apiKey": {"existingSecret": "mine", "key": "token"}}
        documents = render({**values, "settings": {"telnyx.base-url": api, "cache.ttl": "200ms"}})
        with run(documents, tmp_path, {"mine": {"token": "KEY-of-yesterday"}}) as process:
            host = address(tmp_path)
            ready = f"http://{host}{container(documents)['readinessProbe']['httpGet']['path']}"
            wait_until(lambda: "telnyx_up 0.0" in get(f"http://{host}/metrics"), "the refusal")
            assert status(ready) == 503
            project(tmp_path / "api-key", {"token": KEY})
            wait_until(lambda: "telnyx_up 1.0" in get(f"http://{host}/metrics"), "the new key's use")
            assert status(ready) == 200
            assert process.poll() is None
