import ipaddress
import itertools
import json
import re
import subprocess
import tarfile

import kubernetes_validate
import pytest
import yaml
from chart import (
    CHART,
    DEMO,
    EVERYTHING,
    NEWEST,
    OLDEST,
    OPERATOR,
    ROOT,
    SECRET,
    SETS,
    TLS,
    container,
    helm,
    object_of_kind,
    pod,
    render,
    render_error,
    template,
)
from cloudcoil.models.prometheus_operator import v1 as operator
from programs import find_program

from exporter import __version__

METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())
ABOUT = (CHART / "README.md").read_text()
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RULES = (ROOT / "prometheus" / "rules" / "telnyx.rules.yaml").read_text()
ALWAYS = ["Deployment", "Service", "ServiceAccount"]
VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
"""What Pod Security's "restricted" lets a pod mount."""

PRIVATE = ("10.96.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "fd00::1", "fe80::1")
PUBLIC = ("192.76.120.10", "2606:4700::1")

each_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def kinds(documents):
    return sorted(document["kind"] for document in documents)


def selects(labels, document):
    return labels.items() <= document["metadata"]["labels"].items()


def contains(networks, address):
    """Tell whether an address is in one of these networks."""
    networks = [networks] if isinstance(networks, str) else networks
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks)


def test_it_is_released_with_the_exporter():
    """Chart and image have the exporter's version, and so has what the README builds."""
    assert METADATA["version"] == METADATA["appVersion"] == __version__
    assert re.findall(r"telnyx-exporter:(\S+)", ABOUT) == [__version__]


@pytest.mark.parametrize("values", [None, DEMO, EVERYTHING], ids=["defaults", "demo", "everything"])
def test_helm_has_nothing_against_it(values):
    """Helm's own check finds no fault."""
    said = helm("lint", "--strict", CHART, f"--kube-version={NEWEST}", values=values)
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert re.findall(r"\[(\w+)\] (.*)", said) == [("INFO", "Chart.yaml: icon is recommended")]


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@each_set
def test_kubernetes_takes_it(values, kubernetes):
    """What comes out is what the schemas of Kubernetes and of the Prometheus operator want, without a field more."""
    documents = render(values, kubernetes=kubernetes)
    for document in documents:
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            model = getattr(operator, document["kind"]).model_validate(document)
            assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == document
        else:
            version = kubernetes_validate.validate(document, kubernetes, strict=True)
            assert version == ".".join(kubernetes.split(".")[:2])
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)


def test_an_older_kubernetes_is_refused():
    """One that would not understand it all does not get it."""
    major, minor, _ = OLDEST.split(".")
    assert f"requires kubeVersion: >={OLDEST}" in render_error(SECRET, f"{major}.{int(minor) - 1}.9")


@pytest.mark.parametrize(
    ("values", "more", "fewer"),
    [
        ({}, [], []),
        ({"serviceAccount": {"create": False}}, [], ["ServiceAccount"]),
        ({"serviceMonitor": {"enabled": True}}, ["ServiceMonitor"], []),
        ({"prometheusRule": {"enabled": True}}, ["PrometheusRule"], []),
        ({"dashboards": {"enabled": True}}, ["ConfigMap"] * len(DASHBOARDS), []),
        ({"networkPolicy": {"enabled": True}}, ["NetworkPolicy"], []),
        ({"podDisruptionBudget": {"enabled": True}}, ["PodDisruptionBudget"], []),
    ],
    ids=["defaults", "no account", "monitor", "rule", "dashboards", "policy", "budget"],
)
def test_a_value_switches_one_thing(values, more, fewer):
    """Each part is there when it is asked for, and only then."""
    assert kinds(render({**SECRET, **values})) == sorted([kind for kind in ALWAYS if kind not in fewer] + more)


def test_every_value_has_its_place():
    """What is set comes out: each value of a set that has them all, none of which is used twice."""

    def leaves(value):
        if isinstance(value, dict):
            return itertools.chain.from_iterable(map(leaves, value.values()))
        return itertools.chain.from_iterable(map(leaves, value)) if isinstance(value, list) else iter([value])

    settings = {key: value for key, value in EVERYTHING.items() if key not in {"settings", "demo"}}
    text = template(EVERYTHING)
    for leaf in leaves(settings):
        if leaf not in ("", True, False):
            assert re.search(rf"(?<![\w.]){re.escape(str(leaf))}(?![\w.])", text), leaf
    assert EVERYTHING.keys() | {"demo"} == yaml.safe_load((CHART / "values.yaml").read_text()).keys()


@each_set
def test_pod_security_is_restricted(values):
    """Pod Security's "restricted" holds, and more: a read-only file system, no token and no service variables."""
    spec = pod(render(values))["spec"]
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
    for volume in spec.get("volumes", ()):
        assert volume.keys() - {"name"} <= VOLUMES
    assert (
        spec["securityContext"].items()
        >= {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }.items()
    )
    assert spec["securityContext"].get("runAsUser") != 0
    assert "sysctls" not in spec["securityContext"]
    for one in spec["containers"]:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPort" not in port for port in one["ports"])
        assert all(mount["readOnly"] for mount in one.get("volumeMounts", ()))
        assert one["resources"]["limits"]["memory"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for document in render(values):
        if document["kind"] == "ServiceAccount":
            assert document["automountServiceAccountToken"] is False
            assert document["metadata"]["name"] == spec["serviceAccountName"]


@each_set
def test_the_parts_find_each_other(values):
    """Service, policy and budget select the pod, the monitor selects the service, and ports are those there are."""
    documents = render(values)
    template_of_pod, (port,) = pod(documents), container(documents)["ports"]
    service, deployment = object_of_kind(documents, "Service"), object_of_kind(documents, "Deployment")
    assert f"EXPOSE {port['containerPort']}" in (ROOT / "Dockerfile").read_text().splitlines()
    assert selects(deployment["spec"]["selector"]["matchLabels"], template_of_pod)
    assert selects(service["spec"]["selector"], template_of_pod)
    assert [entry["targetPort"] for entry in service["spec"]["ports"]] == [port["name"]]
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "NetworkPolicy":
            assert selects(spec["podSelector"]["matchLabels"], template_of_pod)
            assert [rule["ports"] for rule in spec["ingress"]] == [[{"port": port["containerPort"], "protocol": "TCP"}]]
        if document["kind"] == "PodDisruptionBudget":
            assert selects(spec["selector"]["matchLabels"], template_of_pod)
        if document["kind"] == "ServiceMonitor":
            assert selects(spec["selector"]["matchLabels"], service)
            assert spec["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
            assert [endpoint["port"] for endpoint in spec["endpoints"]] == [
                entry["name"] for entry in service["spec"]["ports"]
            ]


def test_two_releases_keep_apart():
    """In one namespace, neither selects the other's pods, and no two objects have one name."""
    one, other = (render(SETS["defaults of everything"], name=name) for name in ("one", "other"))
    assert not selects(object_of_kind(one, "Service")["spec"]["selector"], pod(other))
    assert not {document["metadata"]["name"] for document in one} & {document["metadata"]["name"] for document in other}


@each_set
def test_what_is_scraped_is_there_while_telnyx_is_not(values):
    """The service leads to pods that are not ready, as telnyx_up 0 is what matters then."""
    assert object_of_kind(render(values), "Service")["spec"]["publishNotReadyAddresses"] is True


def test_an_update_leaves_no_gap():
    """The old exporter goes when the new one is ready, and has longer to end than it needs."""
    documents = render(SECRET)
    assert object_of_kind(documents, "Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert pod(documents)["spec"]["terminationGracePeriodSeconds"] > 5


def test_the_key_is_a_file_that_can_change():
    """The Secret's key is mounted as a folder, which the kubelet renews, and is in no variable or manifest."""
    documents = render({"apiKey": {"existingSecret": "mine", "key": "token"}})
    (volume,), (mount,) = pod(documents)["spec"]["volumes"], container(documents)["volumeMounts"]
    assert volume["secret"] == {"secretName": "mine", "items": [{"key": "token", "path": "token"}]}
    assert mount == {"name": volume["name"], "mountPath": mount["mountPath"], "readOnly": True}
    assert container(documents)["args"] == [f"--telnyx.api-key-file={mount['mountPath']}/token"]
    assert "env" not in container(documents)
    assert all(document["kind"] != "Secret" for values in SETS.values() for document in render(values))


def test_the_demo_needs_nothing():
    """It mounts no key, not even with a Secret at hand, and nothing at all without a web configuration."""
    documents = render({**DEMO, **SECRET})
    assert container(documents)["args"] == ["--demo"]
    assert "volumes" not in pod(documents)["spec"]
    assert "volumeMounts" not in container(documents)
    documents = render({**TLS, **DEMO})
    assert [volume["secret"]["secretName"] for volume in pod(documents)["spec"]["volumes"]] == ["telnyx-web"]
    assert len(container(documents)["volumeMounts"]) == 1


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, f"telnyx-exporter:{__version__}"),
        ({"repository": "images.example:5000/team/exporter"}, f"images.example:5000/team/exporter:{__version__}"),
        ({"tag": "edge"}, "telnyx-exporter:edge"),
        ({"tag": "edge", "digest": f"sha256:{'0' * 64}"}, f"telnyx-exporter@sha256:{'0' * 64}"),
    ],
    ids=["default", "repository", "tag", "digest"],
)
def test_image(image, reference):
    """The image is the one of the exporter's version, or the one that is asked for."""
    assert container(render({**DEMO, "image": image}))["image"] == reference


def test_settings_become_flags():
    """Text, numbers and switches are written as the exporter reads them, whatever is in them."""
    settings = {
        "cache.ttl": "1m",
        "metrics.deny": r'telnyx_.*\d"<{{ .Values }}',
        "telnyx.page-size": 250,
        "large": 12345678,
        "on": True,
        "off": False,
    }
    assert container(render({**DEMO, "settings": settings}))["args"][1:] == [
        "--cache.ttl=1m",
        "--large=12345678",
        r'--metrics.deny=telnyx_.*\d"<{{ .Values }}',
        "--on",
        "--telnyx.page-size=250",
    ]


@pytest.mark.parametrize(
    ("values", "scheme", "way"),
    [(SECRET, "http", "httpGet"), (TLS, "https", "httpGet"), (SETS["client certificates"], "https", "tcpSocket")],
    ids=["plain", "tls", "client certificates"],
)
def test_probes_and_scrapes_speak_what_is_served(values, scheme, way):
    """With TLS they use it, and a kubelet that has no certificate to show does not ask more than it may."""
    documents = render({**values, "serviceMonitor": {"enabled": True}})
    for name in ("livenessProbe", "readinessProbe"):
        handler = container(documents)[name][way]
        assert handler["port"] == container(documents)["ports"][0]["name"]
        assert handler.get("scheme", scheme.upper()) == scheme.upper()
    (endpoint,) = object_of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["scheme"] == scheme


@pytest.mark.parametrize("relabelings", [[], EVERYTHING["serviceMonitor"]["relabelings"]], ids=["none", "other"])
def test_the_job_is_the_one_that_the_rules_look_for(relabelings):
    """Whatever other relabelings say, the last one makes it the rules' job, without a condition."""
    jobs = set(re.findall(r'job="(\w+)"', RULES))
    documents = render({**SECRET, "serviceMonitor": {"enabled": True, "relabelings": relabelings}})
    (endpoint,) = object_of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
    *others, last = endpoint["relabelings"]
    assert others == relabelings
    assert last.keys() == {"targetLabel", "replacement"}
    assert last["targetLabel"] == "job"
    assert {last["replacement"]} == jobs


def test_it_is_scraped_as_the_example_says():
    """Interval and timeout are those of the repository's Prometheus configuration."""
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]
    (endpoint,) = object_of_kind(render({**SECRET, **OPERATOR}), "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == (config["scrape_interval"], config["scrape_timeout"])
    assert endpoint["path"] == "/metrics"


def rules_of(**values):
    """Return the spec of the rules that the chart renders."""
    rule = OPERATOR["prometheusRule"] | values
    return object_of_kind(render({**SECRET, **OPERATOR, "prometheusRule": rule}), "PrometheusRule")["spec"]


def without_dashboards(spec):
    """Return the rules without the annotation that links to Grafana."""
    for rule in (rule for group in spec["groups"] for rule in group["rules"]):
        rule.get("annotations", {}).pop("dashboard_url", None)
    return spec


def test_the_rules_are_the_repository_s(tmp_path):
    """They are the same to the letter, braces included, and Prometheus's own check takes them."""
    spec = rules_of(grafanaUrl="http://localhost:3000")
    assert spec == yaml.safe_load(RULES)
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(spec))
    check = subprocess.run(
        [find_program("promtool"), "check", "rules", rules], capture_output=True, text=True, check=True
    )
    assert f"SUCCESS: {sum(len(group['rules']) for group in spec['groups'])} rules found" in check.stdout


def test_the_runbooks_can_be_elsewhere():
    """Each alert then leads there and is the same otherwise."""
    there = RULES.replace("{{ $externalURL }}/user/runbooks", "https://wiki.example/telnyx")
    assert rules_of(runbookUrl="https://wiki.example/telnyx") == without_dashboards(yaml.safe_load(there))
    assert there.count("https://wiki.example/telnyx/Telnyx") == RULES.count("runbook_url: ")


def test_grafana_is_where_the_values_say():
    """Alerts link to dashboards there. If the values don't name a Grafana, alerts have no link that leads nowhere."""
    there = RULES.replace("http://localhost:3000", "https://grafana.example/telnyx")
    assert rules_of(grafanaUrl="https://grafana.example/telnyx") == yaml.safe_load(there)
    assert rules_of() == without_dashboards(yaml.safe_load(RULES))
    assert "localhost" not in str(rules_of())


def test_the_dashboards_are_the_repository_s():
    """There is one small object for each, to the letter, under the label that Grafana's sidecar looks for."""
    maps = [each for each in render({**SECRET, "dashboards": {"enabled": True}}) if each["kind"] == "ConfigMap"]
    assert {name: text for each in maps for name, text in each["data"].items()} == {
        path.name: path.read_text() for path in DASHBOARDS
    }
    for each in maps:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Telnyx"}
        assert len(json.dumps(each)) < 256 * 1024  # what `kubectl apply` can note of an object beside it


def test_the_policy_lets_in_prometheus_and_out_to_telnyx():
    """By default Prometheus comes in, and DNS and HTTPS go out, the latter to public addresses alone."""
    spec = object_of_kind(render(SETS["defaults of everything"]), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["from"] for rule in spec["ingress"]] == [
        [
            {
                "namespaceSelector": {},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
            }
        ]
    ]
    dns, https = spec["egress"]
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert https["ports"] == [{"port": 443, "protocol": "TCP"}]
    for address in (*PRIVATE, *PUBLIC):
        blocks = [
            peer["ipBlock"]
            for peer in https["to"]
            if contains(peer["ipBlock"]["cidr"], address) and not contains(peer["ipBlock"]["except"], address)
        ]
        assert bool(blocks) == (address in PUBLIC), address


def test_the_policy_can_lead_through_a_proxy():
    """What it may reach is replaced, names apart."""
    spec = object_of_kind(render(EVERYTHING), "NetworkPolicy")["spec"]
    assert spec["egress"][1:] == EVERYTHING["networkPolicy"]["egress"]
    assert [rule["from"] for rule in spec["ingress"]] == [EVERYTHING["networkPolicy"]["from"]]


def test_a_budget_keeps_no_node_from_being_drained():
    """With one exporter, or with some that are not ready, a pod may always go."""
    spec = object_of_kind(render(SETS["defaults of everything"]), "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_package_is_complete(tmp_path):
    """It holds what the links lead to, no link, and comes out the same."""
    helm("package", CHART, "--destination", tmp_path)
    package = tmp_path / f"telnyx-exporter-{__version__}.tgz"
    with tarfile.open(package) as archive:
        assert all(member.isfile() for member in archive.getmembers())
        packed = {
            member.name.removeprefix("telnyx-exporter/"): archive.extractfile(member).read() for member in archive
        }
    assert packed["files/telnyx.rules.yaml"].decode() == RULES
    assert {name for name in packed if name.endswith(".json")} == {
        "values.schema.json",
        *(f"files/dashboards/{path.name}" for path in DASHBOARDS),
    }
    for values in SETS.values():
        assert template(values, package) == template(values)
    assert helm("show", "values", package).strip() == (CHART / "values.yaml").read_text().strip()


@pytest.mark.parametrize(
    ("values", "says", "not_a_word"),
    [
        (SECRET, ["API key api-key of the Secret telnyx", "http://localhost:10142/", "as the job telnyx"], "replicas"),
        (DEMO, ["shows 55 made-up connections"], "Secret"),
        (TLS, ["https://localhost:10142/", "does not start before that exists"], "does not know of it"),
        ({**SECRET, "replicas": 2}, ["2 replicas read the account 2 times"], "made-up"),
        (
            EVERYTHING,
            ["--namespace there port-forward service/the-full-name 10142:8443"],
            "does not know of it",
        ),
    ],
    ids=["key", "demo", "tls", "replicas", "everything"],
)
def test_the_notes_say_what_is_next(tmp_path, values, says, not_a_word):
    """After an installation one reads where it is, and what is missing."""
    for path in CHART.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(CHART)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    # Helm shows notes to none but a cluster, so they are rendered as part of an object.
    include = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
    (tmp_path / "templates" / "notes.yaml").write_text(f"kind: Notes\ntext: {include}\n")
    text = object_of_kind(render(values, tmp_path), "Notes")["text"]
    for sentence in says:
        assert sentence in " ".join(text.split()), text
    assert not_a_word not in text


EXAMPLES = re.findall(r"```yaml\n(.*?)```", ABOUT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_readme_s_examples_work(number):
    """Each of them is taken, and changes something."""
    values = {**SECRET, **yaml.safe_load(EXAMPLES[number])}
    assert template(values) != template(SECRET)
    test_kubernetes_takes_it(values, NEWEST)
