import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
MOUNTS = {
    name: dict(volume.removesuffix(":ro").split(":") for volume in service.get("volumes", ()))
    for name, service in SERVICES.items()
}
"""The path in the container by the path here, of each service."""
PORTS = {int(port.rsplit(":", 1)[1]) for service in SERVICES.values() for port in service.get("ports", ())}


def inside(service, path):
    """Return where a path of a container is in the repository."""
    here, there = next(pair for pair in MOUNTS[service].items() if Path(path).is_relative_to(pair[1]))
    return DEPLOY / here / Path(path).relative_to(there)


def options(service):
    return dict(option.removeprefix("--").split("=", 1) for option in SERVICES[service]["command"])


def test_what_it_mounts_exists():
    """Every path is there, mounted read-only, and the exporter is built from where the Dockerfile is."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            assert volume.endswith(":ro")
            assert (DEPLOY / volume.split(":")[0]).exists(), volume
    assert (DEPLOY / SERVICES["exporter"]["build"] / "Dockerfile").is_file()


def test_configurations_are_where_they_are_looked_for():
    """What the commands name is inside what is mounted."""
    for service in ("prometheus", "alertmanager"):
        assert inside(service, options(service)["config.file"]).is_file()
    assert inside("prometheus", options("prometheus")["web.user-assets"] + "/runbooks/README.md").is_file()


def test_dashboards_are_where_grafana_looks():
    """The provider's folder is the one that the dashboards are mounted at."""
    for path in (ROOT / "grafana" / "provisioning" / "dashboards").glob("*.yaml"):
        for provider in yaml.safe_load(path.read_text())["providers"]:
            assert list(inside("grafana", provider["options"]["path"]).glob("*.json"))


def test_ports_are_those_of_the_configurations():
    """What Prometheus scrapes and alerts is published, and Grafana's source is the service that is Prometheus."""
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


def test_nothing_is_open_or_writable_or_drifts():
    """Ports are this machine's only, file systems are read-only, images are pinned, and there are no secrets."""
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert not re.search("PASSWORD|SECRET|KEY", str(service))
