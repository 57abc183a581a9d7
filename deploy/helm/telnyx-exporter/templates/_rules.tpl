{{- /*
The rules of the repository with the changes in `prometheusRule`. This template parses the rules, so that each change can name the
field that it sets. The comment "# threshold" in an expression marks its threshold.
*/}}
{{- define "telnyx-exporter.rules" -}}
{{- $values := .Values.prometheusRule }}
{{- $text := .Files.Get "files/telnyx.rules.yaml" }}
{{- with $values.grafanaUrl }}
{{- $text = $text | replace "http://localhost:3000" . }}
{{- end }}
{{- $text = $text | replace "http://localhost:10142/runbooks" (include "telnyx-exporter.runbookUrl" .) }}
{{- $group := index (fromYaml $text).groups 0 }}
{{- $records := list }}
{{- $alerts := list }}
{{- range $rule := $group.rules }}
{{- if $rule.record }}
{{- $records = append $records $rule }}
{{- else }}
{{- $alerts = append $alerts $rule }}
{{- end }}
{{- end }}
{{- include "telnyx-exporter.checkAlerts" (list $values $alerts) }}
{{- $changed := list }}
{{- range $alert := $alerts }}
{{- $override := index ($values.overrides | default dict) $alert.alert | default dict }}
{{- range $field := list "for" "keep_firing_for" }}
{{- with index $override $field }}
{{- $_ := set $alert $field . }}
{{- end }}
{{- end }}
{{- if hasKey $override "threshold" }}
{{- $_ := set $alert "expr" (regexReplaceAll "\\S+(\\s+# threshold)" $alert.expr (printf "%s${1}" (toJson $override.threshold))) }}
{{- end }}
{{- $_ := mergeOverwrite $alert.labels ($values.additionalRuleLabels | default dict) ($override.labels | default dict) }}
{{- with $override.severity }}
{{- $_ := set $alert.labels "severity" . }}
{{- end }}
{{- if not $values.grafanaUrl }}
{{- $_ := unset $alert.annotations "dashboard_url" }}
{{- end }}
{{- $_ := mergeOverwrite $alert.annotations ($override.annotations | default dict) }}
{{- if not (index ($values.disabled | default dict) $alert.alert) }}
{{- $changed = append $changed $alert }}
{{- end }}
{{- end }}
{{- /* Prometheus evaluates a group in order. So your rules can use the recorded metrics, and the alerts can use your rules. */}}
{{- $_ := set $group "rules" (concat $records ($values.rules | default list) $changed) }}
{{- toYaml (dict "groups" (list $group)) }}
{{- end }}

{{- /* Reject changes of alerts that don't exist, and thresholds of alerts that have none. */}}
{{- define "telnyx-exporter.checkAlerts" -}}
{{- $values := first . }}
{{- $all := list }}
{{- $comparing := list }}
{{- range $alert := last . }}
{{- $all = append $all $alert.alert }}
{{- if contains "# threshold" $alert.expr }}
{{- $comparing = append $comparing $alert.alert }}
{{- end }}
{{- end }}
{{- range $value := list "disabled" "overrides" }}
{{- range $name := keys (index $values $value | default dict) | sortAlpha }}
{{- if not (has $name $all) }}
{{- fail (printf "prometheusRule.%s.%s: there is no such alert; use one of %s" $value $name (sortAlpha $all | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $override := $values.overrides }}
{{- if and (hasKey $override "threshold") (eq $name "TelnyxCreditLow") }}
{{- fail "prometheusRule.overrides.TelnyxCreditLow.threshold: set it in prometheusRule.rules; see values.yaml" }}
{{- end }}
{{- if and (hasKey $override "threshold") (not (has $name $comparing)) }}
{{- fail (printf "prometheusRule.overrides.%s.threshold: the alert has no threshold; these have one: %s" $name (sortAlpha $comparing | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}
