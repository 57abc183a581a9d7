import re
from pathlib import Path

import yaml

from exporter.config.options import OPTIONS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
ACCOUNTS = (DEPLOY / "compose.accounts.yaml").read_text()
MOUNTS = {
    name: dict(volume.removesuffix(":ro").split(":") for volume in service.get("volumes", ()))
    for name, service in SERVICES.items()
}
"""For each service, the mounted paths with the paths in the container that they are mounted at."""
PORTS = {int(port.rsplit(":", 1)[1]) for service in SERVICES.values() for port in service.get("ports", ())}


def repository_path(service, path):
    """Return the path in the repository of a path in a container."""
    source, mounted_at = next(pair for pair in MOUNTS[service].items() if Path(path).is_relative_to(pair[1]))
    return DEPLOY / source / Path(path).relative_to(mounted_at)


def options(service):
    return dict(option.removeprefix("--").split("=", 1) for option in SERVICES[service]["command"])


def test_mounted_paths_exist():
    """Every mounted path exists and is read-only, and the exporter's build directory has the Dockerfile."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            assert volume.endswith(":ro")
            assert (DEPLOY / volume.split(":")[0]).exists(), volume
    assert (DEPLOY / SERVICES["exporter"]["build"] / "Dockerfile").is_file()


def test_configuration_files_are_mounted():
    """The files that the commands name are in mounted directories."""
    for service in ("prometheus", "alertmanager"):
        assert repository_path(service, options(service)["config.file"]).is_file()


def test_dashboards_are_mounted():
    """The dashboards are mounted in the directory of the Grafana provider."""
    for path in (ROOT / "grafana" / "provisioning" / "dashboards").glob("*.yaml"):
        for provider in yaml.safe_load(path.read_text())["providers"]:
            assert list(repository_path("grafana", provider["options"]["path"]).glob("*.json"))


def test_ports_match_the_configurations():
    """The ports of Prometheus's targets and Alertmanagers are published. Grafana's data source is Prometheus."""
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    static = [
        *(group for scrape in config["scrape_configs"] for group in scrape["static_configs"]),
        *(group for peers in config["alerting"]["alertmanagers"] for group in peers["static_configs"]),
    ]
    targets = {target for group in static for target in group["targets"]}
    assert targets == {"localhost:10142", "localhost:9093"}
    shared = {name for name, service in SERVICES.items() if service.get("network_mode") == "service:prometheus"}
    assert shared == {"exporter", "alertmanager"}
    assert {int(target.rsplit(":", 1)[1]) for target in targets} | {9090, 3000} == PORTS
    assert "EXPOSE 10142" in (ROOT / "Dockerfile").read_text().splitlines()
    for path in (ROOT / "grafana" / "provisioning" / "datasources").glob("*.yaml"):
        for source in yaml.safe_load(path.read_text())["datasources"]:
            assert source["url"] == "http://prometheus:9090"


def test_services_are_hardened():
    """Ports are only open to this machine, file systems are read-only, images are pinned, and there are no secrets."""
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert not re.search("PASSWORD|SECRET|KEY", str(service))


def test_accounts_replace_the_demo():
    """With the second file, the exporter reads a directory of API keys instead of the demo. Nothing else differs.

    Compose replaces the command and adds the mount. It fails if the directory is not set or doesn't exist.
    """
    ((name, changed),) = yaml.safe_load(ACCOUNTS)["services"].items()
    assert (name, SERVICES[name]["command"]) == ("exporter", ["--demo"])
    (mount,) = changed.pop("volumes")
    assert changed == {"command": [f"--telnyx.api-key-files={mount['target']}/*"]}
    assert "--telnyx.api-key-files" in {option.flag for option in OPTIONS}
    assert mount["source"].startswith("${KEYS:?")
    assert (mount["type"], mount["read_only"], mount["bind"]) == ("bind", True, {"create_host_path": False})


def test_commands_for_accounts_work():
    """The command names files that exist, and the keys belong to the user of the image."""
    files = re.findall(r" -f (\S+)", ACCOUNTS)
    assert files == ["deploy/compose.yaml", "deploy/compose.accounts.yaml"]
    assert all((ROOT / file).is_file() for file in files)
    (user,) = re.findall(r"chown -R (\d+) ", ACCOUNTS)
    assert f"USER {user}:{user}" in (ROOT / "Dockerfile").read_text().splitlines()
