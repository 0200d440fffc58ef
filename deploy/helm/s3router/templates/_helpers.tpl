{{- define "s3router.name" -}}
{{- ternary .Release.Name (printf "%s-s3router" .Release.Name) (contains "s3router" .Release.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "s3router.selector" -}}
app.kubernetes.io/name: s3router
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "s3router.labels" -}}
{{ include "s3router.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "s3router.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}{{ end }}
{{- end }}
