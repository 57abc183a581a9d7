import json

import pytest
import yaml
from chart import CHART, DEMO, NEWEST, SECRET, TLS, container, helm, object_of_kind, render, render_error, template

from exporter.config.flags import OPTIONS

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
OF_A_PARENT = {"global", "enabled"}
"""What a chart that depends on this one adds to its values."""
FREE = {
    *("settings", "strategy.rollingUpdate", "resources.requests", "resources.limits", "affinity"),
    *("serviceMonitor.tlsConfig", "serviceMonitor.basicAuth.username", "serviceMonitor.basicAuth.password", "global"),
}
"""Objects whose keys Kubernetes, its operator or the exporter know, and not the chart."""


DECIDED = {option.flag.removeprefix("--") for option in OPTIONS if option.flag and not option.metavar}
DECIDED |= {"telnyx.api-key-file", "web.config.file", "web.listen-address", "version", "help"}
DECIDED = sorted(DECIDED - {"web.enable-lifecycle"})
"""Settings that are the chart's: what the process is, switches but for one, and what it is given by other values."""


def resolve(schema):
    """Return a schema with what it refers to."""
    _, _, name = schema.get("$ref", "").rpartition("/")
    return {**SCHEMA["definitions"].get(name, {}), **schema}


def properties(schema, path=()):
    """Give each property that a schema has, at any depth, with its path."""
    for name, each in schema.get("properties", {}).items():
        each = resolve(each)  # noqa: PLW2901 -- the same one, whole
        yield ".".join([*path, name]), each
        yield from properties(each, (*path, name))


KNOWN = dict(properties(SCHEMA))


def leaves(values, path=()):
    for name, value in values.items():
        yield ".".join([*path, name])
        if isinstance(value, dict) and ".".join([*path, name]) not in FREE:
            yield from leaves(value, (*path, name))


@pytest.mark.parametrize("path", KNOWN)
def test_every_value_is_described(path):
    """The schema says of each what it is."""
    assert KNOWN[path]["description"].endswith(".")


def test_the_schema_is_strict():
    """An object has the keys that the schema lists and no other, or text, but for those that others know."""
    for path, schema in {"": SCHEMA, **KNOWN}.items():
        if schema.get("type") == "object" and path not in FREE:
            rest = schema.get("additionalProperties")
            assert rest is False or rest == {"type": "string"}, path


def test_the_schema_knows_what_there_is():
    """The file of values has what the schema knows, less what may be added to it, and nothing else."""
    maps = {path for path, schema in KNOWN.items() if isinstance(schema.get("additionalProperties"), dict)}
    there = {path for path in leaves(DEFAULTS) if path.rpartition(".")[0] not in maps}
    optional = {
        path
        for path in KNOWN
        if path in OF_A_PARENT
        or path.startswith(("podSecurityContext.", "serviceMonitor.basicAuth."))
        or path.endswith("Probe.initialDelaySeconds")
    }
    assert there == KNOWN.keys() - optional


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"demo": "yes"}, "/demo"),
        ({"replica": 2}, "'replica' not allowed"),
        ({"apiKey": {"value": "KEY-of-tests"}}, "'value' not allowed"),
        ({"apiKey": {"key": ""}}, "/apiKey/key"),
        ({"apiKey": {"existingSecret": "Not A Name"}}, "/apiKey/existingSecret"),
        ({"settings": {"cache": {"ttl": "1m"}}}, "/settings/cache"),
        ({"webConfig": {"tls": "true"}}, "/webConfig/tls"),
        ({"image": {"digest": "sha256:0"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"registry": "images.example"}}, "'registry' not allowed"),
        ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory"),
        ({"resources": {"limits": {"memory": "1GB"}}}, "/resources/limits/memory"),
        ({"resources": {"requests": {"cpu": -1}}}, "/resources/requests/cpu"),
        ({"podSecurityContext": {"runAsUser": 0}}, "/podSecurityContext/runAsUser"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "'runAsNonRoot' not allowed"),
        ({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "'seccompProfile' not allowed"),
        ({"securityContext": {"privileged": True}}, "'securityContext' not allowed"),
        ({"podLabels": {"number": 1}}, "/podLabels/number"),
        ({"service": {"port": 65536}}, "/service/port"),
        ({"livenessProbe": {"httpGet": {"path": "/"}}}, "'httpGet' not allowed"),
        ({"terminationGracePeriodSeconds": 1}, "/terminationGracePeriodSeconds"),
        ({"serviceMonitor": {"interval": "30 seconds"}}, "/serviceMonitor/interval"),
        ({"serviceMonitor": {"interval": "1s1m"}}, "/serviceMonitor/interval"),
        ({"serviceMonitor": {"scrapeTimeout": ""}}, "/serviceMonitor/scrapeTimeout"),
        ({"prometheusRule": {"runbookUrl": "https://wiki.example/telnyx/"}}, "/prometheusRule/runbookUrl"),
        ({"prometheusRule": {"grafanaUrl": "https://grafana.example/'"}}, "/prometheusRule/grafanaUrl"),
        ({"podDisruptionBudget": {"maxUnavailable": "one"}}, "/podDisruptionBudget/maxUnavailable"),
    ],
    ids=str,
)
def test_a_value_that_can_t_be_used_is_refused(values, says):
    """What is misspelt, of the wrong kind or unsafe is named before anything is made."""
    said = render_error({**DEMO, **values})
    assert says in said
    assert "KEY-of-tests" not in said


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "apiKey.existingSecret is empty: name the Secret that holds the API key, or set demo=true"),
        (
            {**TLS, "webConfig": {"tls": True}},
            "webConfig.existingSecret is empty: name the Secret that holds the file, or set webConfig.tls=false",
        ),
        (
            {**SECRET, "webConfig": {"existingSecret": "telnyx-web", "clientCertificates": True}},
            "webConfig.tls is false: set it to true, or webConfig.clientCertificates to false",
        ),
        *(
            (
                {**SECRET, "settings": {name: True}},
                f"settings.{name} can't be set: the chart decides it; see apiKey, webConfig, service and demo",
            )
            for name in DECIDED
        ),
        (
            {**SECRET, "settings": {"--cache.ttl": "1m"}},
            "settings.--cache.ttl is no setting: write the flag without its dashes, such as cache.ttl",
        ),
        (
            {**SECRET, "extraEnv": [{"name": "TELNYX_API_KEY", "value": "KEY-of-tests"}]},
            "extraEnv has TELNYX_API_KEY: name its Secret in apiKey.existingSecret, values are kept in the clear",
        ),
    ],
    ids=["no key", "TLS of nothing", "client certificates without TLS", *DECIDED, "dashes", "key"],
)
def test_what_contradicts_itself_is_refused(values, says):
    """One line says what is wrong, where and what to do; the other is Helm's."""
    first, *rest = render_error(values).splitlines()
    assert first.endswith(f": {says}")
    assert [line for line in rest if line] == ["Use --debug flag to render out invalid YAML"]


@pytest.mark.parametrize(
    ("interval", "timeout"), [("5s", "10s"), ("1m", "1m1s"), ("1s", "1001ms"), ("1h1m", "1h1m30s")]
)
def test_a_timeout_that_is_longer_than_the_interval_is_refused(interval, timeout):
    """Prometheus would take no such monitor; the numbers' units count, and what nobody asked for is let be."""
    monitor = {"interval": interval, "scrapeTimeout": timeout}
    first, *_ = render_error({**DEMO, "serviceMonitor": {"enabled": True, **monitor}}).splitlines()
    assert first.endswith(
        f": serviceMonitor.scrapeTimeout is {timeout}, longer than serviceMonitor.interval, {interval}: "
        "shorten it, or lengthen the interval"
    )
    assert template({**DEMO, "serviceMonitor": monitor}) == template(DEMO)


@pytest.mark.parametrize(
    ("interval", "timeout"),
    [("10s", "10s"), ("1m", "59s"), ("1m30s", "90s"), ("1h", "2m"), ("1s", "999ms"), (None, "9s")],
)
def test_a_timeout_within_the_interval_is_taken(interval, timeout):
    """As long is short enough, in whatever units, and so is any where the interval is Prometheus's own."""
    documents = render({**DEMO, "serviceMonitor": {"enabled": True, "interval": interval, "scrapeTimeout": timeout}})
    (endpoint,) = object_of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == (interval, timeout)


@pytest.mark.parametrize("quantity", [1, 0.5, 536870912, "1", "0.5", ".5", "1.", "100m", "500Mi", "1Pi", "128e6", "1E"])
def test_resources_are_quantities(quantity):
    """They can be written in each of the ways that Kubernetes knows."""
    value = f"--set-json=resources.limits.memory={json.dumps(quantity)}"  # YAML has two opinions on what 128e6 is
    manifest = helm("template", "here", CHART, f"--kube-version={NEWEST}", value, values=DEMO)
    documents = yaml.safe_load_all(manifest)
    assert container(documents)["resources"]["limits"]["memory"] == quantity


def test_another_chart_can_depend_on_it():
    """The values that it then has besides its own are taken, and change nothing."""
    assert template({**DEMO, "enabled": True, "global": {"imageRegistry": "images.example"}}) == template(DEMO)
