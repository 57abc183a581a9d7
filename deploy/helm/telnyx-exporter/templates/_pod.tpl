{{- /* The template of the pods, for the Deployment or the StatefulSet. */}}
{{- define "telnyx-exporter.pod" -}}
metadata:
  labels:
    {{- include "telnyx-exporter.labels" (dict "root" . "labels" .Values.podLabels) | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: exporter
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "telnyx-exporter.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with include "telnyx-exporter.imagePullSecrets" . }}
  imagePullSecrets:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    seccompProfile:
      type: RuntimeDefault
    {{- with .Values.podSecurityContext }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "telnyx-exporter.containers" (dict "root" . "name" "extraInitContainers") | trim }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "telnyx-exporter.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- include "telnyx-exporter.args" . | trim | nindent 8 }}
      {{- with include "telnyx-exporter.env" . | trim }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: 10142
      livenessProbe:
        {{- include "telnyx-exporter.probe" (dict "root" . "path" "/-/healthy" "timing" .Values.livenessProbe) | nindent 8 }}
      readinessProbe:
        {{- include "telnyx-exporter.probe" (dict "root" . "path" "/-/ready" "timing" .Values.readinessProbe) | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        privileged: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- if or (not .Values.demo) .Values.webConfig.existingSecret .Values.extraVolumeMounts }}
      volumeMounts:
        # Directories, because the kubelet doesn't update single files.
        {{- if not .Values.demo }}
        - name: {{ include "telnyx-exporter.keyVolume" . }}
          mountPath: /etc/telnyx-exporter/{{ include "telnyx-exporter.keyVolume" . }}
          readOnly: true
        {{- end }}
        {{- if .Values.webConfig.existingSecret }}
        - name: web-config
          mountPath: /etc/telnyx-exporter/web
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
    {{- with include "telnyx-exporter.containers" (dict "root" . "name" "extraContainers") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- if or (not .Values.demo) .Values.webConfig.existingSecret .Values.extraVolumes }}
  volumes:
    {{- if not .Values.demo }}
    - name: {{ include "telnyx-exporter.keyVolume" . }}
      secret:
        {{- with (.Values.apiKeys).existingSecret }}
        secretName: {{ . | quote }}
        {{- else }}
        secretName: {{ .Values.apiKey.existingSecret | quote }}
        items:
          - key: {{ .Values.apiKey.key | quote }}
            path: {{ .Values.apiKey.key | quote }}
        {{- end }}
    {{- end }}
    {{- with .Values.webConfig.existingSecret }}
    - name: web-config
      secret:
        secretName: {{ . | quote }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- range $name := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "hostAliases" "dnsConfig" }}
  {{- with index $.Values $name }}
  {{ $name }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
