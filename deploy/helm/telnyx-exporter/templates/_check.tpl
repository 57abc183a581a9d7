{{- /*
Reject values that contradict each other or are unsafe, beyond what values.schema.json can check. Here and elsewhere, parentheses
as in `(.Values.podMonitor).enabled` allow for values that are missing after `helm upgrade --reuse-values`.
*/}}
{{- define "telnyx-exporter.check" -}}
{{- $keys := (.Values.apiKeys).existingSecret }}
{{- if not (or .Values.demo .Values.apiKey.existingSecret $keys) }}
{{- fail "apiKey.existingSecret is empty: name the Secret that holds the API key, set apiKeys.existingSecret for several accounts, or set demo=true" }}
{{- end }}
{{- if and .Values.apiKey.existingSecret $keys }}
{{- fail "apiKey.existingSecret and apiKeys.existingSecret are set: set the first for one account, or the second for several" }}
{{- end }}
{{- include "telnyx-exporter.checkShards" . }}
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

{{- /* Reject several shards if there are no accounts to divide, or if the pods can't know their shard. */}}
{{- define "telnyx-exporter.checkShards" -}}
{{- if include "telnyx-exporter.sharded" . }}
{{- $shards := printf "shards is %d" (int .Values.shards) }}
{{- if or .Values.demo (not (.Values.apiKeys).existingSecret) }}
{{- fail (printf "%s, but there are no accounts to divide: set apiKeys.existingSecret and demo=false, or shards=1" $shards) }}
{{- end }}
{{- if gt (int .Values.replicas) 1 }}
{{- fail (printf "%s and replicas is %d: each shard has one pod; for two of each shard, set replicas=1 and install two releases" $shards (int .Values.replicas)) }}
{{- end }}
{{- if semverCompare "<1.28-0" .Capabilities.KubeVersion.Version }}
{{- fail (printf "%s, which needs Kubernetes 1.28 or later, but this is %s: set shards=1, or update the cluster" $shards .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if eq .name "SHARD" }}
{{- fail "extraEnv: SHARD can't be set: the chart sets it to the number of the shard" }}
{{- end }}
{{- end }}
{{- $name := include "telnyx-exporter.fullname" . }}
{{- if gt (len $name) 52 }}
{{- fail (printf "%s, but the name %s has %d characters, and a StatefulSet's can have 52: set a shorter fullnameOverride" $shards $name (len $name)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Reject a setting that the chart sets, or that it must know. The arguments are its place and its name. */}}
{{- define "telnyx-exporter.checkDecided" -}}
{{- $where := first . }}
{{- $name := last . | lower | replace "__" "." | replace "_" "." | replace "-" "." }}
{{- $decided := list "telnyx.api-key-file" "telnyx.api-key-files" "shard" "total-shards" "web.config.file" "web.listen-address" "web.systemd-socket" "demo" "once" "once.complete" "check-config" "check-access" "version" "help" }}
{{- range $decided }}
{{- if eq $name (replace "-" "." .) }}
{{- fail (printf "%s can't be set: the chart decides it; see apiKey, apiKeys, shards, webConfig, service and demo" $where) }}
{{- end }}
{{- end }}
{{- range list "web.route-prefix" "web.external-url" "web.telemetry-path" }}
{{- if and (not (hasPrefix "settings." $where)) (eq $name (replace "-" "." .)) }}
{{- fail (printf "%s can't be set: write it as settings.%s, which probes and scrapes follow" $where .) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Reject an environment variable that contains a secret. The arguments are its place and the variable. */}}
{{- define "telnyx-exporter.checkVariable" -}}
{{- $variable := last . }}
{{- if eq $variable.name "TELNYX_API_KEY" }}
{{- fail (printf "%s has TELNYX_API_KEY: name its Secret in apiKey.existingSecret, or, for several accounts, in apiKeys.existingSecret" (first .)) }}
{{- end }}
{{- include "telnyx-exporter.checkPassword" (list (printf "%s: %s" (first .) $variable.name) $variable.value) }}
{{- end }}

{{- /* Reject a URL with a password, because anyone who may read the release or the pod can read it. */}}
{{- define "telnyx-exporter.checkPassword" -}}
{{- if regexMatch "://[^/@]*:[^/@]*@" (last . | toString) }}
{{- fail (printf "%s has a password: put the URL into a Secret, and name that in extraEnv with valueFrom" (first .)) }}
{{- end }}
{{- end }}
