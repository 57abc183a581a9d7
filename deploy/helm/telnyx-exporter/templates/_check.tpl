{{- /*
Reject values that contradict each other or are unsafe, beyond what values.schema.json can check. Here and elsewhere, parentheses
as in `(.Values.podMonitor).enabled` allow for values that are missing after `helm upgrade --reuse-values`.
*/}}
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
{{- if and .Values.serviceMonitor.enabled (.Values.podMonitor).enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are true, so Prometheus would scrape each pod twice: set one to false" }}
{{- end }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- with index $.Values $name }}
{{- $then := toDate "2006" "2000" }}{{/* Templates compare points in time, not durations. */}}
{{- if and .enabled .interval .scrapeTimeout (($then | mustDateModify .scrapeTimeout).After ($then | mustDateModify .interval)) }}
{{- fail (printf "%s.scrapeTimeout is %s, longer than %s.interval, %s: shorten it, or lengthen the interval" $name .scrapeTimeout $name .interval) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if not (regexMatch "^[a-z][a-z0-9.-]*$" $name) }}
{{- fail (printf "settings.%s is no setting: write the flag without its dashes, such as cache.ttl" $name) }}
{{- end }}
{{- include "telnyx-exporter.checkDecided" (list (printf "settings.%s" $name) $name) }}
{{- include "telnyx-exporter.checkPassword" (list (printf "settings.%s" $name) $value) }}
{{- end }}
{{- range .Values.extraArgs }}
{{- $flag := regexFind "^--[^= ]*" . }}
{{- $name := $flag | trimPrefix "--" | trimPrefix "no-" }}
{{- include "telnyx-exporter.checkDecided" (list (printf "extraArgs: %s" $flag) $name) }}
{{- include "telnyx-exporter.checkPassword" (list (printf "extraArgs: %s" ($flag | default "an argument")) .) }}
{{- end }}
{{- range .Values.extraEnv }}
{{- include "telnyx-exporter.checkVariable" (list "extraEnv" .) }}
{{- if hasPrefix "TELNYX_EXPORTER_" .name }}
{{- include "telnyx-exporter.checkDecided" (list (printf "extraEnv: %s" .name) (trimPrefix "TELNYX_EXPORTER_" .name)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Reject a setting that the chart decides, or that it must know. The arguments are where it is, and its name. */}}
{{- define "telnyx-exporter.checkDecided" -}}
{{- $where := first . }}
{{- $name := last . | lower | replace "__" "." | replace "_" "." | replace "-" "." }}
{{- $decided := list "telnyx.api-key-file" "web.config.file" "web.listen-address" "web.systemd-socket" "demo" "once" "once.complete" "check-config" "check-access" "version" "help" }}
{{- range $decided }}
{{- if eq $name (replace "-" "." .) }}
{{- fail (printf "%s can't be set: the chart decides it; see apiKey, webConfig, service and demo" $where) }}
{{- end }}
{{- end }}
{{- range list "web.route-prefix" "web.external-url" "web.telemetry-path" }}
{{- if and (not (hasPrefix "settings." $where)) (eq $name (replace "-" "." .)) }}
{{- fail (printf "%s can't be set: write it as settings.%s, which probes and scrapes follow" $where .) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Reject an environment variable that has a secret. The arguments are the value that has it, and the variable. */}}
{{- define "telnyx-exporter.checkVariable" -}}
{{- $variable := last . }}
{{- if eq $variable.name "TELNYX_API_KEY" }}
{{- fail (printf "%s has TELNYX_API_KEY: name its Secret in apiKey.existingSecret" (first .)) }}
{{- end }}
{{- include "telnyx-exporter.checkPassword" (list (printf "%s: %s" (first .) $variable.name) $variable.value) }}
{{- end }}

{{- /* Reject a URL with a password, because anyone who may read the release or the pod can read it. */}}
{{- define "telnyx-exporter.checkPassword" -}}
{{- if regexMatch "://[^/@]*:[^/@]*@" (last . | toString) }}
{{- fail (printf "%s has a password: put the URL into a Secret, and name that in extraEnv with valueFrom" (first .)) }}
{{- end }}
{{- end }}
