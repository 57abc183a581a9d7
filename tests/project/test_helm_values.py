import json

import pytest
import yaml
from chart import CHART, DEMO, NEWEST, SECRET, TLS, container, helm, object_of_kind, render, render_error, template

from exporter.config.options import OPTIONS

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
PARENT_KEYS = {"global", "enabled"}
"""Keys that a parent chart adds to the values."""
FREE_FORM = {
    *("settings", "strategy.rollingUpdate", "resources.requests", "resources.limits", "affinity"),
    *("serviceMonitor.tlsConfig", "serviceMonitor.basicAuth.username", "serviceMonitor.basicAuth.password", "global"),
}
"""Objects whose keys are defined by Kubernetes, the Prometheus operator or the exporter, not by the chart."""


RESERVED = {option.flag.removeprefix("--") for option in OPTIONS if option.flag and not option.metavar}
RESERVED |= {"telnyx.api-key-file", "web.config.file", "web.listen-address", "version", "help"}
RESERVED = sorted(RESERVED - {"web.enable-lifecycle"})
"""Settings that the chart decides: all switches except one, `version`, `help`, and flags that other values set."""


def resolve(schema):
    """Return a schema with its reference resolved."""
    _, _, name = schema.get("$ref", "").rpartition("/")
    return {**SCHEMA["definitions"].get(name, {}), **schema}


def properties(schema, path=()):
    """Yield each property of a schema, at any depth, with its path."""
    for name, each in schema.get("properties", {}).items():
        each = resolve(each)  # noqa: PLW2901 -- the same property, resolved
        yield ".".join([*path, name]), each
        yield from properties(each, (*path, name))


PROPERTIES = dict(properties(SCHEMA))


def leaves(values, path=()):
    for name, value in values.items():
        yield ".".join([*path, name])
        if isinstance(value, dict) and ".".join([*path, name]) not in FREE_FORM:
            yield from leaves(value, (*path, name))


@pytest.mark.parametrize("path", PROPERTIES)
def test_every_value_has_a_description(path):
    """The schema describes every value."""
    assert PROPERTIES[path]["description"].endswith(".")


def test_schema_is_strict():
    """An object rejects unknown keys or is a map of texts, unless its keys are defined outside of the chart."""
    for path, schema in {"": SCHEMA, **PROPERTIES}.items():
        if schema.get("type") == "object" and path not in FREE_FORM:
            rest = schema.get("additionalProperties")
            assert rest is False or rest == {"type": "string"}, path


def test_schema_matches_the_values():
    """`values.yaml` has exactly the values of the schema, except for the optional ones."""
    maps = {path for path, schema in PROPERTIES.items() if isinstance(schema.get("additionalProperties"), dict)}
    present = {path for path in leaves(DEFAULTS) if path.rpartition(".")[0] not in maps}
    optional = {
        path
        for path in PROPERTIES
        if path in PARENT_KEYS
        or path.startswith(("podSecurityContext.", "serviceMonitor.basicAuth."))
        or path.endswith("Probe.initialDelaySeconds")
    }
    assert present == PROPERTIES.keys() - optional


@pytest.mark.parametrize(
    ("values", "expected"),
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
def test_invalid_value_is_rejected(values, expected):
    """The error names a value that is misspelled, of the wrong type or unsafe. Nothing is rendered."""
    error = render_error({**DEMO, **values})
    assert expected in error
    assert "KEY-of-tests" not in error


@pytest.mark.parametrize(
    ("values", "expected"),
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
            for name in RESERVED
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
    ids=["no key", "TLS without a file", "client certificates without TLS", *RESERVED, "dashes", "key"],
)
def test_contradictory_values_are_rejected(values, expected):
    """One line says what is wrong, where, and what to do. The other line comes from Helm."""
    first, *rest = render_error(values).splitlines()
    assert first.endswith(f": {expected}")
    assert [line for line in rest if line] == ["Use --debug flag to render out invalid YAML"]


@pytest.mark.parametrize(
    ("interval", "timeout"), [("5s", "10s"), ("1m", "1m1s"), ("1s", "1001ms"), ("1h1m", "1h1m30s")]
)
def test_timeout_longer_than_the_interval_is_rejected(interval, timeout):
    """Prometheus would reject such a monitor. The comparison includes units. A disabled monitor is not checked."""
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
def test_timeout_within_the_interval_is_accepted(interval, timeout):
    """The timeout can equal the interval, in any units. With Prometheus's default interval, any timeout is accepted."""
    documents = render({**DEMO, "serviceMonitor": {"enabled": True, "interval": interval, "scrapeTimeout": timeout}})
    (endpoint,) = object_of_kind(documents, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == (interval, timeout)


@pytest.mark.parametrize("quantity", [1, 0.5, 536870912, "1", "0.5", ".5", "1.", "100m", "500Mi", "1Pi", "128e6", "1E"])
def test_resources_are_quantities(quantity):
    """Resources accept every notation for quantities that Kubernetes accepts."""
    value = f"--set-json=resources.limits.memory={json.dumps(quantity)}"  # YAML parsers disagree about 128e6
    manifest = helm("template", "here", CHART, f"--kube-version={NEWEST}", value, values=DEMO)
    documents = yaml.safe_load_all(manifest)
    assert container(documents)["resources"]["limits"]["memory"] == quantity


def test_chart_can_be_a_dependency():
    """Values that a parent chart adds are accepted and change nothing."""
    assert template({**DEMO, "enabled": True, "global": {"imageRegistry": "images.example"}}) == template(DEMO)
