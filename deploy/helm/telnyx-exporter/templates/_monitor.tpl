{{- /* The common part of ServiceMonitor and PodMonitor. `monitor` has the values of one of them. */}}
{{- define "telnyx-exporter.monitor" -}}
{{- $spec := dict "namespaceSelector" (dict "matchNames" (list (include "telnyx-exporter.namespace" .root))) }}
{{- $_ := set $spec "selector" (dict "matchLabels" (include "telnyx-exporter.selectorLabels" .root | fromYaml)) }}
{{- range $name := list "targetLabels" "podTargetLabels" "sampleLimit" "targetLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" }}
{{- with index $.monitor $name }}
{{- $_ := set $spec $name . }}
{{- end }}
{{- end }}
{{- if (.monitor.attachMetadata).node }}
{{- $_ := set $spec "attachMetadata" .monitor.attachMetadata }}
{{- end }}
{{- toYaml $spec }}
{{- end }}

{{- define "telnyx-exporter.endpoint" -}}
{{- $endpoint := dict
  "port" "metrics"
  "path" (include "telnyx-exporter.metricsPath" .root)
  "scheme" (.root.Values.webConfig.tls | ternary "https" "http")
}}
{{- range $name := list "interval" "scrapeTimeout" "params" "honorLabels" "proxyUrl" "tlsConfig" "basicAuth" "authorization" "metricRelabelings" }}
{{- with index $.monitor $name }}
{{- $_ := set $endpoint $name . }}
{{- end }}
{{- end }}
{{- if eq (toString .monitor.honorTimestamps) "false" }}
{{- $_ := set $endpoint "honorTimestamps" false }}
{{- end }}
{{- /* The job is set last, so that no other relabeling changes it: the alert TelnyxExporterDown selects it. */}}
{{- $job := dict "targetLabel" "job" "replacement" "telnyx" }}
{{- $_ := set $endpoint "relabelings" (append (.monitor.relabelings | default list) $job) }}
{{- toYaml $endpoint }}
{{- end }}
