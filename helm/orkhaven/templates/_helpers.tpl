{{- define "orkhaven.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "orkhaven.fullname" -}}
{{- $name := include "orkhaven.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Of one component: dict "root" . "component" "hub" */}}
{{- define "orkhaven.selectorLabels" -}}
app.kubernetes.io/name: {{ include "orkhaven.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "orkhaven.labels" -}}
{{ include "orkhaven.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: orkhaven
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "orkhaven.hubUrl" -}}
{{- .Values.hub.url | default (printf "http://%s-hub.%s.svc" (include "orkhaven.fullname" .) .Release.Namespace) }}
{{- end }}

{{- /* Whether the hub keeps its metrics in PostgreSQL. */}}
{{- define "orkhaven.hubPostgres" -}}
{{- if or .Values.hub.database.url .Values.hub.database.existingSecret }}true{{ end }}
{{- end }}

{{- /* Further settings as environment: dict "prefix" "ORKHAVEN_" "settings" map. Numbers go through JSON: quote alone
       would write 4194304 as 4.194304e+06. */}}
{{- define "orkhaven.settings" -}}
{{- $prefix := .prefix }}
{{- range $name, $value := .settings }}
- name: {{ printf "%s%s" $prefix ($name | snakecase | upper) }}
  value: {{ $value | toJson | trimAll "\"" | quote }}
{{- end }}
{{- end }}

{{- /* Scheduling and security that all pods share: dict "root" . "values" .Values.hub "serviceAccount" name */}}
{{- define "orkhaven.podSpec" -}}
serviceAccountName: {{ .serviceAccount }}
# A Service of the namespace would put ORKHAVEN_HUB_PORT=tcp://... among our own settings.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "orkhaven.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
