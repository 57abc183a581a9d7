import functools
import json

import pytest
import yaml
from chart import (
    CHART,
    DEMO,
    NEWEST,
    OLDEST_FOR_SHARDS,
    SECRET,
    SECRETS,
    SHARDS,
    TLS,
    container,
    endpoint,
    helm,
    render,
    render_error,
    template,
)

from exporter.config.options import OPTIONS

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
PARENT_KEYS = {"enabled"}
"""Keys that a parent chart adds to the values."""
FREE_FORM = {
    *("settings", "strategy.rollingUpdate", "resources.requests", "resources.limits", "affinity"),
    *(
        f"{monitor}.{name}"
        for monitor in ("serviceMonitor", "podMonitor")
        for name in ("tlsConfig", "params", "basicAuth.username", "basicAuth.password", "authorization.credentials")
    ),
}
"""Objects whose keys are defined by Kubernetes, the Prometheus operator or the exporter, not by the chart."""


RESERVED = {option.flag.removeprefix("--") for option in OPTIONS if option.flag and not option.metavar}
RESERVED |= {
    "telnyx.api-key-file",
    "telnyx.api-key-files",
    "shard",
    "total-shards",
    "web.config.file",
    "web.listen-address",
    "version",
    "help",
}
RESERVED = sorted(RESERVED - {"web.enable-lifecycle", "web.disable-status-page"})
"""Settings that the chart decides: all switches except two, `version`, `help`, and flags that other values set."""


def resolve(schema):
    """Return a schema with its references resolved."""
    if "$ref" not in schema:
        return schema
    referenced = functools.reduce(dict.__getitem__, schema["$ref"].removeprefix("#/").split("/"), SCHEMA)
    return {**resolve(referenced), **{key: value for key, value in schema.items() if key != "$ref"}}


def properties(schema, path=()):
    """Yield each property of a schema, at any depth, with its path. The path of an element ends with `*`."""
    for name, each in schema.get("properties", {}).items():
        each = resolve(each)  # noqa: PLW2901 -- the same property, resolved
        yield ".".join([*path, name]), each
        yield from properties(each, (*path, name))
    for element in (schema.get("additionalProperties"), schema.get("items")):
        for each in [element, *element.get("anyOf", ())] if isinstance(element, dict) else ():
            yield from properties(resolve(each), (*path, "*"))


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
    """An object rejects unknown keys or is a map, unless its keys are defined outside of the chart.

    A parent chart's `global` has values of other charts.
    """
    for path, schema in {"": SCHEMA, **PROPERTIES}.items():
        if schema.get("type") == "object" and path not in FREE_FORM | {"global"}:
            rest = schema.get("additionalProperties")
            is_map = isinstance(rest, dict) and (rest["type"] != "object" or rest["additionalProperties"] is False)
            assert rest is False or is_map, path


def test_schema_matches_the_values():
    """`values.yaml` has exactly the values of the schema, except for the optional ones."""
    maps = {path for path, schema in PROPERTIES.items() if isinstance(schema.get("additionalProperties"), dict)}
    present = {path for path in leaves(DEFAULTS) if path.rpartition(".")[0] not in maps}
    optional = {
        path
        for path in PROPERTIES
        if path in PARENT_KEYS
        or path.startswith(("podSecurityContext.", "dnsConfig."))
        or ".basicAuth." in path
        or ".authorization." in path
        or ".*." in path
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
        ({"apiKeys": {"existingSecret": "Not A Name"}}, "/apiKeys/existingSecret"),
        ({"apiKeys": {"a": "KEY-of-tests"}}, "'a' not allowed"),
        ({"shards": 0}, "/shards"),
        ({"shards": 1001}, "/shards"),
        ({"shards": "3"}, "/shards"),
        ({"settings": {"cache": {"ttl": "1m"}}}, "/settings/cache"),
        ({"webConfig": {"tls": "true"}}, "/webConfig/tls"),
        ({"image": {"digest": "sha256:0"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"registry": "images.example/"}}, "/image/registry"),
        ({"image": {"pullSecrets": ["registry"]}}, "'pullSecrets' not allowed"),
        ({"imagePullSecrets": [{"secret": "registry"}]}, "/imagePullSecrets/0"),
        ({"global": {"imageRegistry": 1}}, "/global/imageRegistry"),
        ({"extraArgs": [{"name": "--log.level", "value": "debug"}]}, "/extraArgs/0"),
        ({"extraEnv": {"HTTPS_PROXY": "http://proxy.example"}}, "/extraEnv"),
        ({"extraContainers": [{"image": "proxy"}]}, "/extraContainers"),
        ({"hostAliases": [{"ip": "192.0.2.1", "hostNames": ["proxy.example"]}]}, "'hostNames' not allowed"),
        ({"dnsPolicy": "default"}, "/dnsPolicy"),
        ({"serviceMonitor": {"selfMonitor": {"enabled": True}}}, "'selfMonitor' not allowed"),
        ({"serviceMonitor": {"proxyUrl": "http://user:password@proxy.example"}}, "/serviceMonitor/proxyUrl"),
        ({"podMonitor": {"targetLabels": ["team"]}}, "'targetLabels' not allowed"),
        ({"podMonitor": {"sampleLimit": -1}}, "/podMonitor/sampleLimit"),
        ({"prometheusRule": {"disabled": ["TelnyxApiDown"]}}, "/prometheusRule/disabled"),
        ({"prometheusRule": {"overrides": {"TelnyxApiDown": {"expr": "vector(1)"}}}}, "'expr' not allowed"),
        ({"prometheusRule": {"overrides": {"TelnyxApiDown": {"for": "10 minutes"}}}}, "/TelnyxApiDown/for"),
        ({"prometheusRule": {"overrides": {"TelnyxApiDown": {"threshold": "0.8"}}}}, "/TelnyxApiDown/threshold"),
        ({"prometheusRule": {"rules": [{"expr": "vector(1)"}]}}, "/prometheusRule/rules/0"),
        ({"prometheusRule": {"rules": [{"alert": "A", "record": "a", "expr": "1"}]}}, "/prometheusRule/rules/0"),
        ({"prometheusRule": {"rules": [{"alert": "A", "exp": "1"}]}}, "'exp' not allowed"),
        ({"extraManifests": {"secret": "kind: Secret"}}, "/extraManifests"),
        ({"replicaCount": 2}, "'replicaCount' not allowed"),
        ({"ingress": {"enabled": True}}, "'ingress' not allowed"),
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
        (
            {},
            (
                "apiKey.existingSecret is empty: name the Secret that holds the API key, set apiKeys.existingSecret "
                "for several accounts, or set demo=true"
            ),
        ),
        (
            {**SECRET, **SECRETS},
            (
                "apiKey.existingSecret and apiKeys.existingSecret are set: set the first for one account, "
                "or the second for several"
            ),
        ),
        *(
            (
                {**values, "shards": 3},
                (
                    "shards is 3, but there are no accounts to divide: set apiKeys.existingSecret and demo=false, "
                    "or shards=1"
                ),
            )
            for values in (SECRET, DEMO, {**SECRETS, **DEMO})
        ),
        (
            {**SHARDS, "replicas": 2},
            (
                "shards is 3 and replicas is 2: each shard has one pod; for two of each shard, set replicas=1 and "
                "install two releases"
            ),
        ),
        (
            {**SHARDS, "fullnameOverride": "n" * 53},
            (
                f"shards is 3, but the name {'n' * 53} has 53 characters, and a StatefulSet's can have 52: "
                "set a shorter fullnameOverride"
            ),
        ),
        (
            {**SHARDS, "extraEnv": [{"name": "SHARD", "value": "1"}]},
            "extraEnv: SHARD can't be set: the chart sets it to the number of the shard",
        ),
        (
            {**TLS, "webConfig": {"tls": True}},
            "webConfig.existingSecret is empty: name the Secret that holds the file, or set webConfig.tls=false",
        ),
        (
            {**SECRET, "webConfig": {"existingSecret": "telnyx-web", "clientCertificates": True}},
            "webConfig.tls is false: set it to true, or webConfig.clientCertificates to false",
        ),
        (
            {**SECRET, "serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
            (
                "serviceMonitor.enabled and podMonitor.enabled are true, so Prometheus would scrape each pod twice: "
                "set one to false"
            ),
        ),
        (
            {**SECRET, "settings": {"--cache.ttl": "1m"}},
            "settings.--cache.ttl is no setting: write the flag without its dashes, such as cache.ttl",
        ),
        ({**DEMO, "extraContainers": "name: proxy"}, "extraContainers must be a list of containers: "),
    ],
    ids=[
        *("no key", "both keys", "shards of an account", "shards of a demo", "shards of a demo with keys"),
        *("shards with replicas", "long name", "number of the shard"),
        *("TLS without a file", "client certificates without TLS", "two monitors", "dashes", "containers"),
    ],
)
def test_contradictory_values_are_rejected(values, expected):
    """One line says what is wrong, where, and what to do. The other line comes from Helm."""
    first, *rest = render_error(values).splitlines()
    assert f": {expected}" in first
    assert [line for line in rest if line] == ["Use --debug flag to render out invalid YAML"]


@pytest.mark.parametrize("version", ["1.27.99", "v1.27.16-gke.1"])
def test_shards_need_the_index_of_a_pod(version):
    """Before Kubernetes 1.28, pods don't have their index. Pre-releases and builds of later versions are accepted."""
    first, *_ = render_error(SHARDS, version).splitlines()
    text = (
        f"needs Kubernetes 1.28 or later, but this is v{version.removeprefix('v')}: set shards=1, or update the cluster"
    )
    assert first.endswith(f": shards is 3, which {text}")
    assert template(SECRETS, kubernetes=version)
    for later in (OLDEST_FOR_SHARDS, "v1.28.0-eks-1", "1.30.2+k3s1"):
        assert template(SHARDS, kubernetes=later)


def test_name_of_shards_has_a_limit():
    """A name of 52 characters is accepted, and any name without shards."""
    assert template({**SHARDS, "fullnameOverride": "n" * 52})
    assert template({**SECRETS, "fullnameOverride": "n" * 63})


@pytest.mark.parametrize("name", RESERVED)
def test_what_the_chart_decides_is_rejected(name):
    """Settings that the chart decides are rejected as settings, arguments and environment variables."""
    variable = f"TELNYX_EXPORTER_{name.replace('.', '__').replace('-', '_').upper()}"
    for values, text in (
        ({"settings": {name: True}}, f"settings.{name}"),
        ({"extraArgs": [f"--{name}=true"]}, f"extraArgs: --{name}"),
        ({"extraArgs": [f"--no-{name}"]}, f"extraArgs: --no-{name}"),
        ({"extraEnv": [{"name": variable, "value": "true"}]}, f"extraEnv: {variable}"),
    ):
        first, *_ = render_error({**SECRET, **values}).splitlines()
        assert first.endswith(
            f": {text} can't be set: the chart decides it; see apiKey, apiKeys, shards, webConfig, service and demo"
        )


@pytest.mark.parametrize("name", ["web.route-prefix", "web.external-url", "web.telemetry-path"])
def test_paths_must_be_settings(name):
    """Settings that change paths are rejected as arguments and variables, which probes and scrapes can't follow."""
    variable = f"TELNYX_EXPORTER_{name.replace('.', '__').replace('-', '_').upper()}"
    for values, text in (
        ({"extraArgs": [f"--{name}", "/telnyx"]}, f"extraArgs: --{name}"),
        ({"extraEnv": [{"name": variable, "value": "/telnyx"}]}, f"extraEnv: {variable}"),
    ):
        first, *_ = render_error({**SECRET, **values}).splitlines()
        assert first.endswith(f": {text} can't be set: write it as settings.{name}, which probes and scrapes follow")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"extraEnv": [{"name": "TELNYX_API_KEY", "value": "KEY-of-tests"}]}, "extraEnv"),
        (
            {"extraEnv": [{"name": "TELNYX_API_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
            "extraEnv",
        ),
        (
            {"extraContainers": [{"name": "proxy", "env": [{"name": "TELNYX_API_KEY", "value": "KEY-of-tests"}]}]},
            "extraContainers.env",
        ),
        (
            {"extraInitContainers": "[{name: proxy, env: [{name: TELNYX_API_KEY, value: KEY-of-tests}]}]"},
            "extraInitContainers.env",
        ),
    ],
)
def test_api_key_is_not_a_variable(values, text):
    """The API key is rejected as a variable, which any reader of the pod could see. It is not in the message."""
    error = render_error({**SECRET, **values})
    assert (
        f"{text} has TELNYX_API_KEY: name its Secret in apiKey.existingSecret, or, for several accounts, in apiKeys."
        in error
    )
    assert "KEY-of-tests" not in error


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (lambda url: {"extraEnv": [{"name": "HTTPS_PROXY", "value": url}]}, "extraEnv: HTTPS_PROXY"),
        (lambda url: {"settings": {"telnyx.proxy-url": url}}, "settings.telnyx.proxy-url"),
        (lambda url: {"extraArgs": [f"--telnyx.proxy-url={url}"]}, "extraArgs: --telnyx.proxy-url"),
        (lambda url: {"extraArgs": ["--telnyx.proxy-url", url]}, "extraArgs: an argument"),
        (
            lambda url: {"extraContainers": [{"name": "proxy", "env": [{"name": "PROXY", "value": url}]}]},
            "extraContainers.env: PROXY",
        ),
    ],
    ids=["variable", "setting", "argument", "separate argument", "container"],
)
def test_url_with_a_password_is_rejected(values, text):
    """A URL with a password belongs into a Secret. The message has no password. A URL without one is accepted."""
    error = render_error({**SECRET, **values("http://user:PASSWORD-of-tests@proxy.example:3128")})
    assert f"{text} has a password: put the URL into a Secret, and name that in extraEnv with valueFrom" in error
    assert "PASSWORD-of-tests" not in error
    for url in ("http://proxy.example:3128", "http://proxy.example:3128/a@b", "http://user@proxy.example:3128"):
        assert url in template({**SECRET, **values(url)})


@pytest.mark.parametrize(
    ("interval", "timeout"), [("5s", "10s"), ("1m", "1m1s"), ("1s", "1001ms"), ("1h1m", "1h1m30s")]
)
def test_timeout_longer_than_the_interval_is_rejected(interval, timeout):
    """Prometheus would reject such a monitor. The comparison includes units. A disabled monitor is not checked."""
    monitor = {"interval": interval, "scrapeTimeout": timeout}
    for name in ("serviceMonitor", "podMonitor"):
        first, *_ = render_error({**DEMO, name: {"enabled": True, **monitor}}).splitlines()
        assert first.endswith(
            f": {name}.scrapeTimeout is {timeout}, longer than {name}.interval, {interval}: "
            "shorten it, or lengthen the interval"
        )
        assert template({**DEMO, name: monitor}) == template(DEMO)


@pytest.mark.parametrize(
    ("interval", "timeout"),
    [("10s", "10s"), ("1m", "59s"), ("1m30s", "90s"), ("1h", "2m"), ("1s", "999ms"), (None, "9s")],
)
def test_timeout_within_the_interval_is_accepted(interval, timeout):
    """The timeout can equal the interval, in any units. With Prometheus's default interval, any timeout is accepted."""
    documents = render({**DEMO, "serviceMonitor": {"enabled": True, "interval": interval, "scrapeTimeout": timeout}})
    assert (endpoint(documents).get("interval"), endpoint(documents)["scrapeTimeout"]) == (interval, timeout)


@pytest.mark.parametrize("quantity", [1, 0.5, 536870912, "1", "0.5", ".5", "1.", "100m", "500Mi", "1Pi", "128e6", "1E"])
def test_resources_are_quantities(quantity):
    """Resources accept every notation for quantities that Kubernetes accepts."""
    value = f"--set-json=resources.limits.memory={json.dumps(quantity)}"  # YAML parsers disagree about 128e6
    manifest = helm("template", "here", CHART, f"--kube-version={NEWEST}", value, values=DEMO)
    documents = yaml.safe_load_all(manifest)
    assert container(documents)["resources"]["limits"]["memory"] == quantity


def test_chart_can_be_a_dependency():
    """Values that a parent chart adds for other charts are accepted and change nothing."""
    assert template({**DEMO, "enabled": True, "global": {"storageClass": "fast"}}) == template(DEMO)
