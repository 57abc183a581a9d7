"""The Helm chart, rendered with the real Helm."""

import functools
import re
import subprocess
from pathlib import Path

import yaml
from kubernetes_validate import latest_version
from programs import find_program

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "telnyx-exporter"
NEWEST = latest_version()
OLDEST = re.search(r'^kubeVersion: ">=([\d.]+)-0"', (CHART / "Chart.yaml").read_text(), re.MULTILINE)[1]

OLDEST_FOR_SHARDS = "1.28.0"
"""The first version of Kubernetes that labels a pod with its index."""

RUNBOOKS = "http://localhost:10142/runbooks"
"""The base of the links to runbooks in the rules and dashboards of the repository, which the chart replaces."""

SECRET = {"apiKey": {"existingSecret": "telnyx"}}
SECRETS = {"apiKeys": {"existingSecret": "telnyx-accounts"}}
SHARDS = {**SECRETS, "shards": 3}
DEMO = {"demo": True}
OPERATOR = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
TLS = {**SECRET, "webConfig": {"existingSecret": "telnyx-web", "tls": True}, "serviceMonitor": {"enabled": True}}
EVERYTHING = {
    "apiKey": {"existingSecret": "the-key-secret", "key": "the.key"},
    "settings": {"web.telemetry-path": "/the-path", "log.format": "json"},
    "extraArgs": ["--cache.ttl=63s"],
    "webConfig": {"existingSecret": "the-web-secret", "key": "the-web.yml", "tls": True, "clientCertificates": False},
    "global": {"imageRegistry": "", "imagePullSecrets": ["the-global-secret"]},
    "image": {
        "registry": "images.example:5000",
        "repository": "the/image",
        "tag": "the-tag",
        "digest": "",
        "pullPolicy": "Always",
    },
    "imagePullSecrets": ["the-pull-secret", {"name": "the-other-pull-secret"}],
    "nameOverride": "the-name",
    "fullnameOverride": "the-full-name",
    "namespaceOverride": "the-namespace",
    "commonLabels": {"common": "the-common-label"},
    "commonAnnotations": {"common": "the-common-annotation"},
    "releaseLabel": True,
    "replicas": 3,
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "26%", "maxUnavailable": "27%"}},
    "revisionHistoryLimit": 21,
    "terminationGracePeriodSeconds": 28,
    "deploymentAnnotations": {"deployment": "the-deployment-annotation"},
    "deploymentLabels": {"deployment": "the-deployment-label"},
    "serviceAccount": {"create": True, "name": "the-account", "annotations": {"account": "the-account-annotation"}},
    "podAnnotations": {"pod": "the-pod-annotation"},
    "podLabels": {"pod": "the-pod-label"},
    "podSecurityContext": {"runAsUser": 2001, "runAsGroup": 2002, "fsGroup": 2003, "supplementalGroups": [2004]},
    "resources": {"requests": {"cpu": "31m", "memory": "32Mi"}, "limits": {"cpu": "33m", "memory": "34Mi"}},
    "livenessProbe": {"initialDelaySeconds": 41, "periodSeconds": 42, "timeoutSeconds": 43, "failureThreshold": 44},
    "readinessProbe": {"initialDelaySeconds": 51, "periodSeconds": 52, "timeoutSeconds": 53, "failureThreshold": 54},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraEnvFrom": [{"secretRef": {"name": "the-variables"}}],
    "extraVolumes": [{"name": "the-volume", "configMap": {"name": "the-bundle"}}],
    "extraVolumeMounts": [{"name": "the-volume", "mountPath": "/the-mount", "readOnly": True}],
    "extraContainers": [{"name": "the-sidecar", "image": "the-sidecar-image", "args": ["{{ not a template }}"]}],
    "extraInitContainers": "- {name: the-init-container, image: '{{ .Values.image.registry }}/the-init-image'}",
    "nodeSelector": {"node": "the-node"},
    "tolerations": [{"key": "the-taint", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "the-affinity", "operator": "Exists"}]}]
            }
        }
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "the-zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "the-name"}},
        }
    ],
    "priorityClassName": "the-priority",
    "hostAliases": [{"ip": "192.0.2.11", "hostnames": ["the-alias"]}],
    "dnsPolicy": "None",
    "dnsConfig": {
        "nameservers": ["192.0.2.12"],
        "searches": ["the-domain"],
        "options": [{"name": "ndots", "value": "13"}],
    },
    "service": {
        "type": "NodePort",
        "port": 8443,
        "annotations": {"service": "the-service-annotation"},
        "labels": {"service": "the-service-label"},
        "ipDualStack": {"enabled": True, "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
    },
    "serviceMonitor": {
        "enabled": True,
        "namespace": "the-monitor-namespace",
        "additionalLabels": {"monitor": "the-monitor-label"},
        "interval": "619s",
        "scrapeTimeout": "618s",
        "params": {"collect[]": ["the-collector"]},
        "proxyUrl": "http://the-proxy.example:3128",
        "tlsConfig": {"serverName": "the-server", "ca": {"secret": {"name": "the-ca", "key": "ca.crt"}}},
        "basicAuth": {
            "username": {"name": "the-user", "key": "username"},
            "password": {"name": "the-password", "key": "password"},
        },
        "authorization": {},
        "honorLabels": True,
        "honorTimestamps": False,
        "targetLabels": ["the-target-label"],
        "podTargetLabels": ["the-pod-label"],
        "attachMetadata": {"node": True},
        "sampleLimit": 6000001,
        "targetLimit": 611,
        "labelLimit": 612,
        "labelNameLengthLimit": 613,
        "labelValueLengthLimit": 614,
        "relabelings": [{"targetLabel": "job", "replacement": "the-relabeling"}],
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "the_metric", "action": "drop"}],
    },
    "podMonitor": {
        "enabled": False,
        "namespace": "the-pod-monitor-namespace",
        "additionalLabels": {"monitor": "the-pod-monitor-label"},
        "interval": "639s",
        "scrapeTimeout": "638s",
        "params": {"collect[]": ["the-pod-collector"]},
        "proxyUrl": "http://the-pod-proxy.example:3128",
        "tlsConfig": {"serverName": "the-pod-server", "ca": {"secret": {"name": "the-pod-ca", "key": "ca.crt"}}},
        "basicAuth": {},
        "authorization": {"type": "the-scheme", "credentials": {"name": "the-token", "key": "token"}},
        "honorLabels": True,
        "honorTimestamps": False,
        "podTargetLabels": ["the-pod-pod-label"],
        "attachMetadata": {"node": True},
        "sampleLimit": 7000001,
        "targetLimit": 631,
        "labelLimit": 632,
        "labelNameLengthLimit": 633,
        "labelValueLengthLimit": 634,
        "relabelings": [{"targetLabel": "job", "replacement": "the-pod-relabeling"}],
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "the-pod_metric", "action": "drop"}],
    },
    "prometheusRule": {
        "enabled": True,
        "namespace": "the-rule-namespace",
        "additionalLabels": {"rule": "the-rule-label"},
        "additionalRuleLabels": {"team": "the-team"},
        "disabled": {"TelnyxMediaUnencrypted": True},
        "overrides": {
            "TelnyxChannelLimitNear": {
                "for": "81m",
                "keep_firing_for": "82m",
                "severity": "the-severity",
                "threshold": 0.83,
                "labels": {"single": "the-alert-label"},
                "annotations": {"single": "the-alert-annotation {{ $labels.instance }}"},
            }
        },
        "rules": [
            {"record": "account:telnyx_account_available_credit:low", "expr": "telnyx_account_available_credit < 84"},
            {
                "alert": "TheAlert",
                "expr": "vector(85)",
                "for": "86m",
                "keep_firing_for": "87m",
                "labels": {"rule": "the-label-of-the-rule"},
                "annotations": {"summary": "the-summary {{ $value }}"},
            },
        ],
        "runbookUrl": "https://wiki.example/the-runbooks",
        "grafanaUrl": "https://grafana.example/the-grafana",
    },
    "dashboards": {
        "enabled": True,
        "namespace": "the-dashboard-namespace",
        "labels": {"grafana_dashboard": "the-dashboard-label"},
        "annotations": {"grafana_folder": "the-folder"},
    },
    "networkPolicy": {
        "enabled": True,
        "from": [{"podSelector": {"matchLabels": {"peer": "the-peer"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}], "ports": [{"port": 3128, "protocol": "TCP"}]}],
    },
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": "71%"},
    "extraManifests": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "the-object", "namespace": '{{ include "telnyx-exporter.namespace" . }}'},
            "data": {"object": "{{ .Release.Name }}-object"},
        },
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: the-text, namespace: there}\n"
            "data: {text: '{{ .Release.Name }}-text'}"
        ),
    ],
}
"""All values of the chart. Each differs from its default and is unique, except for those that exclude each other."""
POD_MONITOR = {
    **EVERYTHING,
    "global": {"imageRegistry": "the-global-registry.example", "imagePullSecrets": []},
    "serviceMonitor": {**EVERYTHING["serviceMonitor"], "enabled": False},
    "podMonitor": {**EVERYTHING["podMonitor"], "enabled": True},
}
"""The values that `EVERYTHING` excludes, instead of those that exclude them."""
SHARDED = {
    **EVERYTHING,
    "apiKey": {"existingSecret": "", "key": "api-key"},
    "apiKeys": {"existingSecret": "the-keys-secret"},
    "replicas": 1,
    "shards": 29,
}
"""The values of several shards, which `EVERYTHING` excludes, too."""

SETS = {
    "key": SECRET,
    "demo": DEMO,
    "operator": {**SECRET, **OPERATOR},
    "tls": TLS,
    "client certificates": {**TLS, "webConfig": {**TLS["webConfig"], "clientCertificates": True}},
    "everything": EVERYTHING,
    "everything with a PodMonitor": POD_MONITOR,
    "defaults of everything": {
        **SECRET,
        **OPERATOR,
        "dashboards": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
    },
    "accounts": SECRETS,
    "shards": SHARDS,
    "everything with shards": SHARDED,
    "shards with a PodMonitor": {**SHARDED, **{name: POD_MONITOR[name] for name in ("serviceMonitor", "podMonitor")}},
    "default PodMonitor": {**SECRET, "podMonitor": {"enabled": True}},
    "recreate": {**SECRET, "strategy": {"type": "Recreate", "rollingUpdate": None}},
    "no account": {**SECRET, "serviceAccount": {"create": False}},
}


@functools.cache
def _run(text, *command):
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def helm(*arguments, values=None):
    """Run Helm with these values on its standard input and return its output. Equal commands run once."""
    result = _run_helm(arguments, values)
    assert result.returncode == 0, result.stderr
    return result.stdout


def render_error(values, kubernetes=NEWEST):
    """Return the error with which Helm rejects these values."""
    result = _run_helm(("template", "here", CHART, f"--kube-version={kubernetes}"), values)
    assert result.returncode == 1
    assert not result.stdout
    return result.stderr.partition("Error: ")[2].strip()


def _run_helm(arguments, values):
    command = [find_program("helm"), *map(str, arguments), *([] if values is None else ["--values", "-"])]
    return _run(None if values is None else yaml.safe_dump(values), *command)


def template(values, chart=CHART, *, name="here", kubernetes=NEWEST):
    """Render the chart with these values and return the manifest."""
    return helm("template", name, chart, "--namespace=there", f"--kube-version={kubernetes}", values=values)


def render(values, chart=CHART, **options):
    """Render the chart and return the objects of the manifest."""
    documents = yaml.load_all(template(values, chart, **options), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def object_of_kind(documents, *kinds):
    """Return the only object of one of these kinds."""
    (found,) = (document for document in documents if document["kind"] in kinds)
    return found


def workload(documents):
    """Return the Deployment or the StatefulSet."""
    return object_of_kind(documents, "Deployment", "StatefulSet")


def pod(documents):
    return workload(documents)["spec"]["template"]


def service(documents):
    """Return the Service that is scraped: the one that has a port."""
    (found,) = (each for each in documents if each["kind"] == "Service" and "ports" in each["spec"])
    return found


def container(documents):
    """Return the exporter's container."""
    (found,) = (each for each in pod(documents)["spec"]["containers"] if each["name"] == "exporter")
    return found


def endpoint(documents):
    """Return the only endpoint of the ServiceMonitor or PodMonitor."""
    spec = object_of_kind(documents, "ServiceMonitor", "PodMonitor")["spec"]
    (found,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
    return found
