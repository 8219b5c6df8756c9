{{/* Names don't contain the release's: cluster-wide there is one Holdfast, and a second release is refused by the names of
     the first one's admission policies. */}}
{{- define "holdfast.name" -}}
holdfast-controller
{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: holdfast
app.kubernetes.io/component: controller
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The controller as admission policies see it. */}}
{{- define "holdfast.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "holdfast.name" . }}
{{- end }}

{{/* image: (list values chart) */}}
{{- define "holdfast.image" -}}
{{- $image := index . 0 }}
{{- $chart := index . 1 }}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $chart.AppVersion }}
{{- end }}
{{- end }}
