{{- define "telnyx-exporter.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "telnyx-exporter.fullname" -}}
{{- $name := include "telnyx-exporter.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "telnyx-exporter.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "telnyx-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "telnyx-exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* All labels of an object, including those in `labels`. No value can change the labels that selectors use. */}}
{{- define "telnyx-exporter.labels" -}}
{{- $chart := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
}}
{{- if .root.Values.releaseLabel }}
{{- $_ := set $chart "release" .root.Release.Name }}
{{- end }}
{{- $selected := include "telnyx-exporter.selectorLabels" .root | fromYaml }}
{{- toYaml (mergeOverwrite $chart (.root.Values.commonLabels | default dict) (.labels | default dict) $selected) }}
{{- end }}

{{- /* The metadata of an object. Its own `name`, `namespace`, `labels` and `annotations` are optional. */}}
{{- define "telnyx-exporter.metadata" -}}
name: {{ .name | default (include "telnyx-exporter.fullname" .root) | quote }}
namespace: {{ .namespace | default (include "telnyx-exporter.namespace" .root) | quote }}
labels:
  {{- include "telnyx-exporter.labels" . | nindent 2 }}
{{- with mergeOverwrite (dict) (.root.Values.commonAnnotations | default dict) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "telnyx-exporter.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "telnyx-exporter.fullname" .) "default") }}
{{- end }}

{{- define "telnyx-exporter.image" -}}
{{- with (.Values.global).imageRegistry | default .Values.image.registry }}{{ . }}/{{ end }}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The Secrets to pull images with, as a list without duplicates. */}}
{{- define "telnyx-exporter.imagePullSecrets" -}}
{{- $secrets := list }}
{{- range concat ((.Values.global).imagePullSecrets | default list) (.Values.imagePullSecrets | default list) }}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with uniq $secrets }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- /* The path prefix of all pages of the exporter: empty, or for example /telnyx. */}}
{{- define "telnyx-exporter.prefix" -}}
{{- $external := index .Values.settings "web.external-url" | default "" | toString }}
{{- $path := regexFind "^[^?#]*" (regexReplaceAll "^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*" $external "") }}
{{- with index .Values.settings "web.route-prefix" | default $path | toString | trimAll "/" }}/{{ . }}{{ end }}
{{- end }}

{{- /*
The URL of the runbooks: your own, or those that the exporter serves at its external URL, or else through the Service. It
becomes part of YAML, JSON and templates of Prometheus, so an external URL with their special characters is rejected.
*/}}
{{- define "telnyx-exporter.runbookUrl" -}}
{{- $external := index .Values.settings "web.external-url" | default "" | toString }}
{{- $external = regexReplaceAll "/+$" $external "" }}
{{- if not (regexMatch "^((?i:https?)://[^\\s\"'\\\\{}]+)?$" $external) }}
{{- fail "settings.web.external-url must be an http or https URL such as https://example.com/telnyx: alerts and dashboards link to the runbooks there" }}
{{- end }}
{{- $scheme := .Values.webConfig.tls | ternary "https" "http" }}
{{- $host := printf "%s.%s.svc:%d" (include "telnyx-exporter.fullname" .) (include "telnyx-exporter.namespace" .) (int .Values.service.port) }}
{{- $service := printf "%s://%s%s" $scheme $host (include "telnyx-exporter.prefix" .) }}
{{- .Values.prometheusRule.runbookUrl | default (printf "%s/runbooks" ($external | default $service)) }}
{{- end }}

{{- define "telnyx-exporter.metricsPath" -}}
{{- include "telnyx-exporter.prefix" . }}/{{ index .Values.settings "web.telemetry-path" | default "metrics" | toString | trimPrefix "/" }}
{{- end }}

{{- /* The exporter's arguments, as a list. A number is written as in JSON, because templates print 1e+06. */}}
{{- define "telnyx-exporter.args" -}}
{{- if .Values.demo }}
- --demo
{{- else if (.Values.apiKeys).existingSecret }}
- --telnyx.api-key-files=/etc/telnyx-exporter/api-keys/*
{{- else }}
- {{ printf "--telnyx.api-key-file=/etc/telnyx-exporter/api-key/%s" .Values.apiKey.key | quote }}
{{- end }}
{{- if include "telnyx-exporter.sharded" . }}
- --shard=$(SHARD)
- --total-shards={{ .Values.shards }}
{{- end }}
{{- if .Values.webConfig.existingSecret }}
- {{ printf "--web.config.file=/etc/telnyx-exporter/web/%s" .Values.webConfig.key | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if kindIs "bool" $value }}
- {{ printf "--%s%s" (ternary "" "no-" $value) $name | quote }}
{{- else }}
- {{ printf "--%s=%s" $name (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ tpl . $ | quote }}
{{- end }}
{{- end }}

{{- /* True, as text, if there are several shards. Otherwise empty. */}}
{{- define "telnyx-exporter.sharded" -}}
{{- if gt (int .Values.shards) 1 }}true{{ end }}
{{- end }}

{{- /* The IP families of a Service. */}}
{{- define "telnyx-exporter.ipFamilies" -}}
{{- with .Values.service.ipDualStack }}
{{- if .enabled }}
ipFamilies:
  {{- toYaml .ipFamilies | nindent 2 }}
ipFamilyPolicy: {{ .ipFamilyPolicy }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The name of the headless Service, which provides DNS names for the pods of the shards. */}}
{{- define "telnyx-exporter.headless" -}}
{{- printf "%s-shards" (include "telnyx-exporter.fullname" .) }}
{{- end }}

{{- /* The volume of the API keys, and the directory that it is mounted as. */}}
{{- define "telnyx-exporter.keyVolume" -}}
{{- if (.Values.apiKeys).existingSecret }}api-keys{{ else }}api-key{{ end }}
{{- end }}

{{- /* The exporter's environment variables, as a list. */}}
{{- define "telnyx-exporter.env" -}}
{{- with .Values.extraEnv }}
{{- toYaml . }}
{{- end }}
{{- if include "telnyx-exporter.sharded" . }}
- name: SHARD
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
{{- end }}
{{- end }}

{{- /* A probe of `path`, with the frequency and timeouts in `timing`. */}}
{{- define "telnyx-exporter.probe" -}}
{{- if .root.Values.webConfig.clientCertificates -}}
tcpSocket:
  port: metrics
{{- else -}}
httpGet:
  path: {{ printf "%s%s" (include "telnyx-exporter.prefix" .root) .path | quote }}
  port: metrics
  scheme: {{ .root.Values.webConfig.tls | ternary "HTTPS" "HTTP" }}
{{- end }}
{{ toYaml .timing }}
{{- end }}

{{- /* The containers in the value `name`: a list, or a template of one. By default they meet Pod Security "restricted". */}}
{{- define "telnyx-exporter.containers" -}}
{{- $containers := index .root.Values .name }}
{{- if kindIs "string" $containers }}
{{- $containers = tpl $containers .root | fromYamlArray }}
{{- end }}
{{- range $containers }}
{{- if not (kindIs "map" .) }}
{{- fail (printf "%s must be a list of containers: %v" $.name .) }}
{{- end }}
{{- range .env }}
{{- include "telnyx-exporter.checkVariable" (list (printf "%s.env" $.name) .) }}
{{- end }}
{{- $restricted := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) }}
- {{- toYaml (merge (dict) . (dict "securityContext" $restricted)) | nindent 2 }}
{{- end }}
{{- end }}
