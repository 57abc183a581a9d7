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

SECRET = {"apiKey": {"existingSecret": "telnyx"}}
DEMO = {"demo": True}
OPERATOR = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
TLS = {**SECRET, "webConfig": {"existingSecret": "telnyx-web", "tls": True}, "serviceMonitor": {"enabled": True}}
EVERYTHING = {
    "apiKey": {"existingSecret": "the-key-secret", "key": "the.key"},
    "settings": {"web.telemetry-path": "/the-path", "log.format": "json"},
    "webConfig": {"existingSecret": "the-web-secret", "key": "the-web.yml", "tls": True, "clientCertificates": False},
    "image": {"repository": "images.example:5000/the/image", "tag": "the-tag", "digest": "", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "the-pull-secret"}],
    "nameOverride": "the-name",
    "fullnameOverride": "the-full-name",
    "commonLabels": {"common": "the-common-label"},
    "replicas": 3,
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "26%", "maxUnavailable": "27%"}},
    "terminationGracePeriodSeconds": 28,
    "serviceAccount": {"create": True, "name": "the-account", "annotations": {"account": "the-account-annotation"}},
    "podAnnotations": {"pod": "the-pod-annotation"},
    "podLabels": {"pod": "the-pod-label"},
    "podSecurityContext": {"runAsUser": 2001, "runAsGroup": 2002, "fsGroup": 2003, "supplementalGroups": [2004]},
    "resources": {"requests": {"cpu": "31m", "memory": "32Mi"}, "limits": {"cpu": "33m", "memory": "34Mi"}},
    "livenessProbe": {"initialDelaySeconds": 41, "periodSeconds": 42, "timeoutSeconds": 43, "failureThreshold": 44},
    "readinessProbe": {"initialDelaySeconds": 51, "periodSeconds": 52, "timeoutSeconds": 53, "failureThreshold": 54},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraVolumes": [{"name": "the-volume", "configMap": {"name": "the-bundle"}}],
    "extraVolumeMounts": [{"name": "the-volume", "mountPath": "/the-mount", "readOnly": True}],
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
    "service": {
        "type": "NodePort",
        "port": 8443,
        "annotations": {"service": "the-service-annotation"},
        "labels": {"service": "the-service-label"},
    },
    "serviceMonitor": {
        "enabled": True,
        "namespace": "the-monitor-namespace",
        "additionalLabels": {"monitor": "the-monitor-label"},
        "interval": "61s",
        "scrapeTimeout": "29s",
        "tlsConfig": {"serverName": "the-server", "ca": {"secret": {"name": "the-ca", "key": "ca.crt"}}},
        "basicAuth": {
            "username": {"name": "the-user", "key": "username"},
            "password": {"name": "the-password", "key": "password"},
        },
        "relabelings": [{"targetLabel": "job", "replacement": "the-relabeling"}],
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "the_metric", "action": "drop"}],
    },
    "prometheusRule": {
        "enabled": True,
        "namespace": "the-rule-namespace",
        "additionalLabels": {"rule": "the-rule-label"},
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
}
"""All values of the chart. Each differs from its default and is unique."""

SETS = {
    "key": SECRET,
    "demo": DEMO,
    "operator": {**SECRET, **OPERATOR},
    "tls": TLS,
    "client certificates": {**TLS, "webConfig": {**TLS["webConfig"], "clientCertificates": True}},
    "everything": EVERYTHING,
    "defaults of everything": {
        **SECRET,
        **OPERATOR,
        "dashboards": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
    },
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


def object_of_kind(documents, kind):
    """Return the only object of this kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def pod(documents):
    return object_of_kind(documents, "Deployment")["spec"]["template"]


def container(documents):
    (found,) = pod(documents)["spec"]["containers"]
    return found
