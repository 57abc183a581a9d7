{{- define "telnyx-exporter.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "telnyx-exporter.fullname" -}}
{{- $name := include "telnyx-exporter.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "telnyx-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "telnyx-exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "telnyx-exporter.labels" -}}
{{ include "telnyx-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "telnyx-exporter.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "telnyx-exporter.fullname" .) "default") }}
{{- end }}

{{- define "telnyx-exporter.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The exporter's arguments, a list. A number is written as JSON does, not as 1e+06. */}}
{{- define "telnyx-exporter.args" -}}
{{- if .Values.demo }}
- --demo
{{- else }}
- {{ printf "--telnyx.api-key-file=/etc/telnyx-exporter/api-key/%s" .Values.apiKey.key | quote }}
{{- end }}
{{- if .Values.webConfig.existingSecret }}
- {{ printf "--web.config.file=/etc/telnyx-exporter/web/%s" .Values.webConfig.key | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if kindIs "bool" $value }}
{{- if $value }}
- {{ printf "--%s" $name | quote }}
{{- else if hasPrefix "collector." $name }}
- {{ printf "--no-%s" $name | quote }}
{{- end }}
{{- else }}
- {{ printf "--%s=%s" $name (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A probe: what it asks is `path`, and when it does is `timing`. */}}
{{- define "telnyx-exporter.probe" -}}
{{- if .webConfig.clientCertificates -}}
tcpSocket:
  port: metrics
{{- else -}}
httpGet:
  path: {{ .path }}
  port: metrics
  scheme: {{ .webConfig.tls | ternary "HTTPS" "HTTP" }}
{{- end }}
{{ toYaml .timing }}
{{- end }}

{{- /* What is wrong with the values, beyond what their schema can say. */}}
{{- define "telnyx-exporter.check" -}}
{{- if not (or .Values.demo .Values.apiKey.existingSecret) }}
{{- fail "apiKey.existingSecret is empty: name the Secret that holds the API key, or set demo=true" }}
{{- end }}
{{- if and .Values.webConfig.tls (not .Values.webConfig.existingSecret) }}
{{- fail "webConfig.existingSecret is empty: name the Secret that holds the file, or set webConfig.tls=false" }}
{{- end }}
{{- if and .Values.webConfig.clientCertificates (not .Values.webConfig.tls) }}
{{- fail "webConfig.tls is false: set it to true, or webConfig.clientCertificates to false" }}
{{- end }}
{{- with .Values.serviceMonitor }}
{{- $then := toDate "2006" "2000" }}{{/* Templates compare points in time, not durations. */}}
{{- if and .enabled .interval .scrapeTimeout (($then | mustDateModify .scrapeTimeout).After ($then | mustDateModify .interval)) }}
{{- fail (printf "serviceMonitor.scrapeTimeout is %s, longer than serviceMonitor.interval, %s: shorten it, or lengthen the interval" .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- $decided := list "telnyx.api-key-file" "web.config.file" "web.listen-address" "web.systemd-socket" "demo" "once" "once.complete" "check-config" "check-access" "version" "help" }}
{{- range $name, $_ := .Values.settings }}
{{- if has $name $decided }}
{{- fail (printf "settings.%s can't be set: the chart decides it; see apiKey, webConfig, service and demo" $name) }}
{{- end }}
{{- if not (regexMatch "^[a-z][a-z0-9.-]*$" $name) }}
{{- fail (printf "settings.%s is no setting: write the flag without its dashes, such as cache.ttl" $name) }}
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if eq .name "TELNYX_API_KEY" }}
{{- fail "extraEnv has TELNYX_API_KEY: name its Secret in apiKey.existingSecret, values are kept in the clear" }}
{{- end }}
{{- end }}
{{- end }}
