{{- define "gateway.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/part-of: aigateway
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "gateway.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A value as the environment has it: numbers of YAML come as floats, and 1e+06 is no number of bytes. */}}
{{- define "gateway.word" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end }}

{{- define "gateway.settings" -}}
ADMIN_ADDR: ":9090"
SHUTDOWN_GRACE: {{ printf "%ds" (int .Values.shutdownGraceSeconds) }}
{{- if .Values.keysSecretName }}
KEYS_FILE: /etc/aigateway-keys/keys.yaml
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ include "gateway.word" $value | quote }}
{{- end }}
{{- end }}
