import copy
import functools
import ipaddress
import itertools
import json
import re
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
    OLDEST_FOR_SHARDS,
    OPERATOR,
    POD_MONITOR,
    ROOT,
    RUNBOOKS,
    SECRET,
    SECRETS,
    SETS,
    SHARDED,
    SHARDS,
    TLS,
    container,
    endpoint,
    helm,
    object_of_kind,
    pod,
    render,
    render_error,
    service,
    template,
    workload,
)

TAG = "dev"
"""The tag of images that are built from the repository."""
METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())
README = (CHART / "README.md").read_text()
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RULES = (ROOT / "prometheus" / "rules" / "telnyx.rules.yaml").read_text()
ALWAYS = ["Deployment", "Service", "ServiceAccount"]
VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
"""Volume types that the "restricted" Pod Security Standard allows."""

PRIVATE = ("10.96.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "fd00::1", "fe80::1")
PUBLIC = ("192.76.120.10", "2606:4700::1")

each_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def kinds(documents):
    return sorted(document["kind"] for document in documents)


def selects(labels, document):
    return labels.items() <= document["metadata"]["labels"].items()


def contains(networks, address):
    """Return whether an address is in one of these networks."""
    networks = [networks] if isinstance(networks, str) else networks
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks)


def test_the_chart_has_no_version():
    """The repository's chart has no version. Its image has the tag that the README's commands give it."""
    assert (METADATA["version"], METADATA["appVersion"]) == ("0.0.0", TAG)
    assert re.findall(r"telnyx-exporter:(\S+)", README) == [TAG]


@pytest.mark.parametrize("values", [None, DEMO, EVERYTHING], ids=["defaults", "demo", "everything"])
def test_helm_lint_passes(values):
    """`helm lint` finds no problem."""
    output = helm("lint", "--strict", CHART, f"--kube-version={NEWEST}", values=values)
    assert "1 chart(s) linted, 0 chart(s) failed" in output
    assert re.findall(r"\[(\w+)\] (.*)", output) == [("INFO", "Chart.yaml: icon is recommended")]


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@each_set
def test_manifest_is_valid(values, kubernetes):
    """All objects match the schemas of Kubernetes and the Prometheus operator, and have no unknown fields."""
    from cloudcoil.models.prometheus_operator import v1 as operator  # noqa: PLC0415 -- loading it takes seconds

    if kubernetes == OLDEST and "shards" in values:
        kubernetes = OLDEST_FOR_SHARDS
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


def test_older_kubernetes_is_rejected():
    """The chart rejects a Kubernetes version that doesn't support all of it."""
    major, minor, _ = OLDEST.split(".")
    assert f"requires kubeVersion: >={OLDEST}" in render_error(SECRET, f"{major}.{int(minor) - 1}.9")


@pytest.mark.parametrize(
    ("values", "more", "fewer"),
    [
        ({}, [], []),
        ({"serviceAccount": {"create": False}}, [], ["ServiceAccount"]),
        ({"serviceMonitor": {"enabled": True}}, ["ServiceMonitor"], []),
        ({"podMonitor": {"enabled": True}}, ["PodMonitor"], []),
        ({"prometheusRule": {"enabled": True}}, ["PrometheusRule"], []),
        ({"dashboards": {"enabled": True}}, ["ConfigMap"] * len(DASHBOARDS), []),
        ({"networkPolicy": {"enabled": True}}, ["NetworkPolicy"], []),
        ({"podDisruptionBudget": {"enabled": True}}, ["PodDisruptionBudget"], []),
        ({"extraManifests": ["kind: Secret", {"kind": "Ingress"}]}, ["Ingress", "Secret"], []),
    ],
    ids=["defaults", "no account", "monitor", "pod monitor", "rule", "dashboards", "policy", "budget", "manifests"],
)
def test_value_enables_one_kind_of_object(values, more, fewer):
    """Each optional object exists if its value enables it, and only then."""
    assert kinds(render({**SECRET, **values})) == sorted([kind for kind in ALWAYS if kind not in fewer] + more)


def leaves(value, path=()):
    """Yield the path and the value of everything in a value that is neither an object nor a list."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if children is None:
        yield path, value
    for key, child in children or ():
        yield from leaves(child, (*path, key))


def test_every_value_is_used():
    """Every value appears in a manifest. The sets together have all values, and no two values are equal."""
    templates = re.compile("{{.*?}}.?")
    text = template(EVERYTHING) + template(POD_MONITOR)
    text_of_shards = template(SHARDED) + template(SETS["shards with a PodMonitor"])
    used = [(text, path, leaf) for path, leaf in itertools.chain(leaves(EVERYTHING), leaves(POD_MONITOR))]
    used += [(text_of_shards, path, leaf) for path, leaf in leaves(SHARDED) if path[0] not in {"apiKey", "strategy"}]
    for manifest, path, leaf in used:
        if path[0] == "settings" or leaf in ("", True, False) or str(leaf).startswith(("- {name", "apiVersion:")):
            continue
        found = templates.sub("", str(leaf)) if path[0] == "extraManifests" else str(leaf)
        assert re.search(rf"(?<![\w.]){re.escape(found)}(?![\w.])", manifest), (path, leaf)
    for name in ("the-init-container", "images.example:5000/the-init-image", "here-object", "the-text", "here-text"):
        assert name in text
        assert name in text_of_shards
    assert SHARDED.keys() | {"demo"} == yaml.safe_load((CHART / "values.yaml").read_text()).keys()


SWITCHES = [
    *((EVERYTHING, path) for path, leaf in leaves(EVERYTHING) if isinstance(leaf, bool) and path[0] != "podMonitor"),
    *((POD_MONITOR, path) for path, leaf in leaves(POD_MONITOR) if isinstance(leaf, bool) and path[0] == "podMonitor"),
]


@pytest.mark.parametrize(("values", "path"), SWITCHES, ids=[".".join(map(str, path)) for _, path in SWITCHES])
def test_every_switch_has_an_effect(values, path):
    """Changing a value that is true or false changes the manifest."""
    other = copy.deepcopy(values)
    parent = functools.reduce(lambda value, key: value[key], path[:-1], other)
    parent[path[-1]] = not parent[path[-1]]
    assert template(other) != template(values)


@each_set
def test_pod_security_is_restricted(values):
    """The pod meets the "restricted" standard, with no token and no service variables.

    The exporter has a read-only file system and a memory limit.
    """
    spec = pod(render(values))["spec"]
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "ephemeralContainers"}
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
    for each in (*spec["containers"], *spec.get("initContainers", ())):
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    exporter = container(render(values))
    assert exporter["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPort" not in port for port in exporter["ports"])
    assert all(mount["readOnly"] for mount in exporter.get("volumeMounts", ()))
    assert exporter["resources"]["limits"]["memory"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for document in render(values):
        if document["kind"] == "ServiceAccount":
            assert document["automountServiceAccountToken"] is False
            assert document["metadata"]["name"] == spec["serviceAccountName"]


@each_set
def test_selectors_and_ports_match(values):
    """The service, policy and budget select the pod, the monitor selects the service, and their ports exist."""
    documents = render(values)
    template_of_pod, (port,) = pod(documents), container(documents)["ports"]
    scraped, owner = service(documents), workload(documents)
    assert f"EXPOSE {port['containerPort']}" in (ROOT / "Dockerfile").read_text().splitlines()
    assert selects(owner["spec"]["selector"]["matchLabels"], template_of_pod)
    assert selects(scraped["spec"]["selector"], template_of_pod)
    assert [entry["targetPort"] for entry in scraped["spec"]["ports"]] == [port["name"]]
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "NetworkPolicy":
            assert selects(spec["podSelector"]["matchLabels"], template_of_pod)
            assert [rule["ports"] for rule in spec["ingress"]] == [[{"port": port["containerPort"], "protocol": "TCP"}]]
        if document["kind"] == "PodDisruptionBudget":
            assert selects(spec["selector"]["matchLabels"], template_of_pod)
        if document["kind"] in {"ServiceMonitor", "PodMonitor"}:
            selected, ports = (
                (scraped, scraped["spec"]["ports"])
                if document["kind"] == "ServiceMonitor"
                else (template_of_pod, container(documents)["ports"])
            )
            assert selects(spec["selector"]["matchLabels"], selected)
            assert spec["namespaceSelector"] == {"matchNames": [owner["metadata"]["namespace"]]}
            assert [endpoint(documents)["port"]] == [entry["name"] for entry in ports]


NEW = {
    **dict.fromkeys(("global", "extraArgs", "namespaceOverride", "commonAnnotations", "releaseLabel", "podMonitor")),
    **dict.fromkeys(("revisionHistoryLimit", "deploymentAnnotations", "deploymentLabels", "extraEnvFrom")),
    **dict.fromkeys(
        ("extraContainers", "extraInitContainers", "hostAliases", "dnsPolicy", "dnsConfig", "extraManifests")
    ),
    **dict.fromkeys(("apiKeys", "shards")),
    "image": {"registry": None},
    "service": {"ipDualStack": None},
    "serviceMonitor": {
        "enabled": True,
        **dict.fromkeys(("params", "proxyUrl", "authorization", "honorLabels", "honorTimestamps", "targetLabels")),
        **dict.fromkeys(("podTargetLabels", "attachMetadata", "sampleLimit", "targetLimit", "labelLimit")),
        **dict.fromkeys(("labelNameLengthLimit", "labelValueLengthLimit")),
    },
    "prometheusRule": {
        "enabled": True,
        **dict.fromkeys(("additionalRuleLabels", "disabled", "overrides", "rules")),
    },
}
"""The values that the first release of the chart doesn't have, missing."""


def test_missing_values_have_defaults():
    """After `helm upgrade --reuse-values` from an older chart, new values are missing, and the manifest is the same."""
    text = template({**SETS["defaults of everything"], **NEW})
    expected = template(SETS["defaults of everything"])
    assert text.replace("revisionHistoryLimit: \n", "revisionHistoryLimit: 10\n") == expected


@each_set
def test_objects_have_the_namespace_and_labels(values):
    """Objects that select each other are in one namespace. No value changes the labels that selectors use."""
    other = {"app.kubernetes.io/name": "other", "app.kubernetes.io/instance": "other"}
    labels = {"commonLabels": other, "podLabels": other, "deploymentLabels": other}
    documents = render({**values, **labels, "service": {"labels": other}, "extraManifests": []})
    names = {"Deployment", "StatefulSet", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"}
    namespaces = {each["metadata"]["namespace"] for each in documents if each["kind"] in names}
    assert namespaces == {values.get("namespaceOverride") or "there"}
    selected = service(documents)["spec"]["selector"]
    assert all(selects(selected, each) for each in (*documents, pod(documents)))


def test_two_releases_are_independent():
    """In one namespace, neither release selects the other's pods, and no two objects have the same name."""
    one, other = (render(SETS["defaults of everything"], name=name) for name in ("one", "other"))
    assert not selects(object_of_kind(one, "Service")["spec"]["selector"], pod(other))
    assert not {document["metadata"]["name"] for document in one} & {document["metadata"]["name"] for document in other}


@each_set
def test_pods_that_are_not_ready_are_scraped(values):
    """Services include pods that are not ready, because their `telnyx_up 0` is what alerts need."""
    services = [each["spec"] for each in render(values) if each["kind"] == "Service"]
    assert [spec["publishNotReadyAddresses"] for spec in services] == [True] * len(services)


def test_update_leaves_no_gap():
    """The old pod stops once the new one is ready, and gets more time to stop than it needs."""
    documents = render(SECRET)
    assert object_of_kind(documents, "Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert pod(documents)["spec"]["terminationGracePeriodSeconds"] > 5


def test_key_is_a_file_that_can_be_rotated():
    """The Secret is mounted as a directory, which the kubelet updates. The key is in no variable and no manifest."""
    documents = render({"apiKey": {"existingSecret": "mine", "key": "token"}})
    (volume,), (mount,) = pod(documents)["spec"]["volumes"], container(documents)["volumeMounts"]
    assert volume["secret"] == {"secretName": "mine", "items": [{"key": "token", "path": "token"}]}
    assert mount == {"name": volume["name"], "mountPath": mount["mountPath"], "readOnly": True}
    assert container(documents)["args"] == [f"--telnyx.api-key-file={mount['mountPath']}/token"]
    assert "env" not in container(documents)
    assert all(document["kind"] != "Secret" for values in SETS.values() for document in render(values))


def test_keys_of_accounts_are_files_that_can_be_rotated():
    """The whole Secret is mounted as a directory, so that accounts appear, disappear and rotate without a restart."""
    documents = render(SECRETS)
    (volume,), (mount,) = pod(documents)["spec"]["volumes"], container(documents)["volumeMounts"]
    assert volume["secret"] == {"secretName": "telnyx-accounts"}
    assert mount == {"name": volume["name"], "mountPath": mount["mountPath"], "readOnly": True}
    assert container(documents)["args"] == [f"--telnyx.api-key-files={mount['mountPath']}/*"]
    assert kinds(documents) == ALWAYS


def test_shards_are_pods_of_a_stateful_set():
    """Each pod learns its shard from its index, and no pod waits for another. All else is as without shards."""
    documents, others = render({**SHARDS, **OPERATOR}), render({**SECRETS, **OPERATOR})
    owner = workload(documents)
    (headless,) = (each for each in documents if each["metadata"]["name"].endswith("-shards"))
    assert owner["kind"] == "StatefulSet"
    assert (owner["spec"]["replicas"], owner["spec"]["podManagementPolicy"]) == (3, "Parallel")
    assert owner["spec"]["serviceName"] == headless["metadata"]["name"]
    exporter = container(documents)
    index = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    assert exporter.pop("env") == [{"name": "SHARD", "valueFrom": index}]
    assert [exporter["args"].pop(), exporter["args"].pop()] == ["--total-shards=3", "--shard=$(SHARD)"]
    assert pod(documents) == pod(others)
    rest = [each for each in documents if each not in (owner, headless)]
    assert rest == [each for each in others if each["kind"] != "Deployment"]


def test_shards_are_scraped_once():
    """The monitor also selects the headless Service, but this has no port, so each pod is scraped only once."""
    documents = render({**SHARDS, **OPERATOR})
    monitor = object_of_kind(documents, "ServiceMonitor")
    services = [each for each in documents if each["kind"] == "Service"]
    assert [selects(monitor["spec"]["selector"]["matchLabels"], each) for each in services] == [True, True]
    assert sorted("ports" in each["spec"] for each in services) == [False, True]
    (headless,) = (each["spec"] for each in services if "ports" not in each["spec"])
    assert headless["clusterIP"] == "None"
    assert selects(headless["selector"], pod(documents))


def test_services_of_shards_have_the_same_ip_families():
    """The IP families of the Service are those of the headless Service, too."""
    services = [each["spec"] for each in render(SHARDED) if each["kind"] == "Service"]
    expected = {name: value for name, value in SHARDED["service"]["ipDualStack"].items() if name != "enabled"}
    assert [{name: spec[name] for name in expected} for spec in services] == [expected] * 2


def test_every_shard_knows_how_many_there_are():
    """The number of pods is the number that the exporter gets."""
    documents = render(SHARDED)
    assert workload(documents)["spec"]["replicas"] == SHARDED["shards"]
    assert f"--total-shards={SHARDED['shards']}" in container(documents)["args"]


def test_shards_can_be_stopped():
    """Without replicas, no shard runs."""
    assert workload(render({**SHARDS, "replicas": 0}))["spec"]["replicas"] == 0


def test_environment_of_a_shard_has_the_extra_variables():
    """Extra variables stay. The number of the shard is one more."""
    extra = EVERYTHING["extraEnv"]
    assert container(render({**SECRETS, "extraEnv": extra}))["env"] == extra
    assert [each["name"] for each in container(render({**SHARDS, "extraEnv": extra}))["env"]] == [
        "HTTPS_PROXY",
        "SHARD",
    ]


@pytest.mark.parametrize("keys", [SECRET, SECRETS], ids=["key", "keys"])
def test_demo_needs_no_key(keys):
    """A demo mounts no key, even if its Secret is set, and without a web configuration it mounts nothing."""
    documents = render({**DEMO, **keys})
    assert container(documents)["args"] == ["--demo"]
    assert "volumes" not in pod(documents)["spec"]
    assert "volumeMounts" not in container(documents)
    documents = render({**TLS, **DEMO})
    assert [volume["secret"]["secretName"] for volume in pod(documents)["spec"]["volumes"]] == ["telnyx-web"]
    assert len(container(documents)["volumeMounts"]) == 1


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, f"telnyx-exporter:{TAG}"),
        ({"repository": "images.example:5000/team/exporter"}, f"images.example:5000/team/exporter:{TAG}"),
        ({"registry": "images.example:5000/team"}, f"images.example:5000/team/telnyx-exporter:{TAG}"),
        ({"tag": "edge"}, "telnyx-exporter:edge"),
        ({"tag": "edge", "digest": f"sha256:{'0' * 64}"}, f"telnyx-exporter@sha256:{'0' * 64}"),
    ],
    ids=["default", "repository", "registry", "tag", "digest"],
)
def test_image(image, reference):
    """The image has the exporter's version by default. Values can change the registry, repository, tag and digest."""
    assert container(render({**DEMO, "image": image}))["image"] == reference


def test_global_values_of_images_apply():
    """The registry of a parent chart replaces the image's. Its pull secrets are added, without duplicates."""
    shared = {"imageRegistry": "mirror.example", "imagePullSecrets": ["one", {"name": "two"}]}
    documents = render(
        {
            **DEMO,
            "global": {**shared, "storageClass": "other"},
            "image": {"registry": "images.example"},
            "imagePullSecrets": [{"name": "one"}, "three"],
        }
    )
    assert container(documents)["image"] == f"mirror.example/telnyx-exporter:{TAG}"
    assert pod(documents)["spec"]["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}, {"name": "three"}]


def test_settings_become_flags():
    """Texts, numbers and switches become flags that the exporter can read, whatever characters they contain."""
    settings = {
        "cache.ttl": "1m",
        "metrics.deny": r'telnyx_.*\d"<{{ .Values }}',
        "telnyx.page-size": 250,
        "large": 12345678,
        "ratio": 0.5,
        "on": True,
        "off": False,
        "collector.ip-connections": True,
        "collector.credential-connections": False,
    }
    assert container(render({**DEMO, "settings": settings}))["args"][1:] == [
        "--cache.ttl=1m",
        "--no-collector.credential-connections",
        "--collector.ip-connections",
        "--large=12345678",
        r'--metrics.deny=telnyx_.*\d"<{{ .Values }}',
        "--no-off",
        "--on",
        "--ratio=0.5",
        "--telnyx.page-size=250",
    ]


def test_extra_arguments_follow_the_settings():
    """Extra arguments are templates. They come last, so that they win."""
    extra = ["--log.level=debug", "--log.format={{ .Values.demo }}", "--metrics.deny", 'a"b']
    arguments = container(render({**DEMO, "settings": {"log.level": "info"}, "extraArgs": extra}))["args"]
    assert arguments == [
        "--demo",
        "--log.level=info",
        "--log.level=debug",
        "--log.format=true",
        "--metrics.deny",
        'a"b',
    ]


@pytest.mark.parametrize(
    ("settings", "prefix", "metrics"),
    [
        ({}, "", "/metrics"),
        ({"web.telemetry-path": "/telnyx"}, "", "/telnyx"),
        ({"web.route-prefix": "/telnyx/"}, "/telnyx", "/telnyx/metrics"),
        ({"web.route-prefix": "a/b", "web.telemetry-path": "/c"}, "/a/b", "/a/b/c"),
        ({"web.external-url": "https://proxy.example:8443/telnyx/?a#b"}, "/telnyx", "/telnyx/metrics"),
        ({"web.external-url": "https://proxy.example"}, "", "/metrics"),
        ({"web.external-url": "https://proxy.example?next=/a"}, "", "/metrics"),
        ({"web.external-url": "https://proxy.example/telnyx", "web.route-prefix": "/"}, "", "/metrics"),
        ({"web.external-url": "https://proxy.example/telnyx", "web.route-prefix": "/a"}, "/a", "/a/metrics"),
    ],
    ids=str,
)
@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])
def test_probes_and_scrapes_follow_the_paths(settings, prefix, metrics, monitor):
    """The route prefix, or else the path of the external URL, comes before the paths of probes and scrapes."""
    documents = render({**DEMO, "settings": settings, monitor: {"enabled": True}})
    assert container(documents)["livenessProbe"]["httpGet"]["path"] == f"{prefix}/-/healthy"
    assert container(documents)["readinessProbe"]["httpGet"]["path"] == f"{prefix}/-/ready"
    assert endpoint(documents)["path"] == metrics


@pytest.mark.parametrize("name", ["extraContainers", "extraInitContainers"])
def test_extra_containers_are_a_list_or_a_template(name):
    """A list is unchanged except for its security, which it can change itself. A text is a template of a list."""
    own = {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["NET_RAW"]}}
    given = [
        {"name": "a", "args": ["{{ a }}"], "ports": [{"containerPort": 9116}]},
        {"name": "b", "securityContext": own},
    ]
    spec = pod(render({**DEMO, name: given}))["spec"]
    added = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    found = [each for each in spec["containers"] + spec.get("initContainers", []) if each["name"] != "exporter"]
    assert found == [{**given[0], "securityContext": added}, given[1]]
    text = "- name: {{ .Release.Name }}\n  securityContext: {runAsUser: 1000620000}\n"
    spec = pod(render({**DEMO, name: text}))["spec"]
    found = [each for each in spec["containers"] + spec.get("initContainers", []) if each["name"] != "exporter"]
    assert found == [{"name": "here", "securityContext": {**added, "runAsUser": 1000620000}}]


@pytest.mark.parametrize(
    ("values", "scheme", "probe"),
    [(SECRET, "http", "httpGet"), (TLS, "https", "httpGet"), (SETS["client certificates"], "https", "tcpSocket")],
    ids=["plain", "tls", "client certificates"],
)
def test_probes_and_scrapes_use_the_served_protocol(values, scheme, probe):
    """With TLS, probes and scrapes use it. If client certificates are required, probes only open a TCP connection."""
    documents = render({**values, "serviceMonitor": {"enabled": True}})
    for name in ("livenessProbe", "readinessProbe"):
        handler = container(documents)[name][probe]
        assert handler["port"] == container(documents)["ports"][0]["name"]
        assert handler.get("scheme", scheme.upper()) == scheme.upper()
    assert endpoint(documents)["scheme"] == scheme
    documents = render({**values, "serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True}})
    assert endpoint(documents)["scheme"] == scheme


@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])
@pytest.mark.parametrize("relabelings", [[], EVERYTHING["serviceMonitor"]["relabelings"]], ids=["none", "other"])
def test_job_matches_the_rules(monitor, relabelings):
    """With any other relabelings, the last one sets the job of the rules, unconditionally."""
    jobs = set(re.findall(r'job="(\w+)"', RULES))
    documents = render({**SECRET, monitor: {"enabled": True, "relabelings": relabelings}})
    *others, last = endpoint(documents)["relabelings"]
    assert others == relabelings
    assert last.keys() == {"targetLabel", "replacement"}
    assert last["targetLabel"] == "job"
    assert {last["replacement"]} == jobs


@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])
def test_scrapes_match_the_example_configuration(monitor):
    """The interval and the timeout match the Prometheus configuration of the repository."""
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]
    found = endpoint(render({**SECRET, monitor: {"enabled": True}}))
    assert (found["interval"], found["scrapeTimeout"]) == (config["scrape_interval"], config["scrape_timeout"])
    assert found["path"] == "/metrics"


def test_dashboards_match_the_repository():
    """Without other links, each dashboard is unchanged in a small ConfigMap with the label of Grafana's sidecar."""
    values = {"dashboards": {"enabled": True}, "prometheusRule": {"runbookUrl": RUNBOOKS}}
    maps = [each for each in render({**SECRET, **values}) if each["kind"] == "ConfigMap"]
    assert {name: text for each in maps for name, text in each["data"].items()} == {
        path.name: path.read_text() for path in DASHBOARDS
    }
    for each in maps:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Telnyx"}
        assert len(json.dumps(each)) < 256 * 1024  # limit of the copy that `kubectl apply` stores in an annotation


def test_dashboards_link_to_the_runbooks_of_users():
    """`runbookUrl` changes the links to runbooks in the dashboards, and nothing else."""
    values = {"dashboards": {"enabled": True}, "prometheusRule": {"runbookUrl": "https://wiki.example/telnyx"}}
    maps = [each for each in render({**SECRET, **values}) if each["kind"] == "ConfigMap"]
    assert {name: text for each in maps for name, text in each["data"].items()} == {
        path.name: path.read_text().replace(RUNBOOKS, "https://wiki.example/telnyx") for path in DASHBOARDS
    }


def test_network_policy_allows_prometheus_in_and_https_out():
    """By default, the policy allows Prometheus in, and DNS and HTTPS out. HTTPS is limited to public addresses."""
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


def test_network_policy_can_allow_a_proxy():
    """Values replace the allowed sources and destinations, except DNS."""
    spec = object_of_kind(render(EVERYTHING), "NetworkPolicy")["spec"]
    assert spec["egress"][1:] == EVERYTHING["networkPolicy"]["egress"]
    assert [rule["from"] for rule in spec["ingress"]] == [EVERYTHING["networkPolicy"]["from"]]


def test_disruption_budget_never_blocks_a_drain():
    """A pod can always be evicted, even if it is the only one or if other pods are not ready."""
    spec = object_of_kind(render(SETS["defaults of everything"]), "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_package_is_complete(tmp_path):
    """A package has files instead of symbolic links, and renders the same manifests."""
    helm("package", CHART, "--destination", tmp_path)
    package = tmp_path / "telnyx-exporter-0.0.0.tgz"
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
    ("values", "expected", "unexpected"),
    [
        (
            SECRET,
            [
                "reads the API key from the key api-key of the Secret telnyx. The pod starts when this Secret exists.",
                "go to http://localhost:10142/ Prometheus doesn't scrape it yet",
                "target here-telnyx-exporter.there.svc:10142, the scheme http and the path /metrics.",
            ],
            "replicas",
        ),
        (DEMO, ["exposes the built-in demo account"], "Secret"),
        (TLS, ["https://localhost:10142/"], "doesn't scrape it yet"),
        ({**SECRET, "podMonitor": {"enabled": True}}, ["http://localhost:10142/"], "doesn't scrape it yet"),
        ({**SECRET, "replicas": 2}, ["Each of the 2 replicas reads the whole account"], "demo"),
        (
            {**SECRETS, "replicas": 2},
            ["one API key for each account from the Secret telnyx-accounts.", "replicas reads every account"],
            "shard",
        ),
        (
            SHARDS,
            [
                "Its 3 shards divide the accounts.",
                "--namespace there port-forward pod/here-telnyx-exporter-0 10142",
                "for here-telnyx-exporter-shards.there.svc (dns_sd_configs, type A, port 10142), the scheme http and",
            ],
            "the target here",
        ),
        (
            {**SECRET, "settings": {"web.external-url": "http://proxy.example/telnyx"}},
            ["http://localhost:10142/telnyx/", "the path /telnyx/metrics."],
            "proxy.example",
        ),
        (
            EVERYTHING,
            ["--namespace the-namespace port-forward service/the-full-name 10142:8443"],
            "doesn't scrape it yet",
        ),
    ],
    ids=["key", "demo", "tls", "pod monitor", "replicas", "accounts", "shards", "prefix", "everything"],
)
def test_notes_say_what_to_do_next(tmp_path, values, expected, unexpected):
    """After an installation, the notes say where the exporter is and what is missing."""
    for path in CHART.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(CHART)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    # Helm only renders notes when it installs into a cluster, so here they are rendered as part of an object.
    include = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
    (tmp_path / "templates" / "notes.yaml").write_text(f"kind: Notes\ntext: {include}\n")
    text = object_of_kind(render(values, tmp_path), "Notes")["text"]
    for sentence in expected:
        assert sentence in " ".join(text.split()), text
    assert unexpected not in text


EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_readme_examples_work(number):
    """Each example is valid and changes the manifest."""
    example = yaml.safe_load(EXAMPLES[number])
    values = example if "apiKeys" in example else {**SECRET, **example}
    assert template(values) != template(SECRET)
    test_manifest_is_valid(values, NEWEST)
