{{/* Variables of the relay beyond those of every process. Takes the broker. */}}
{{- define "placerank.relayEnvironment" -}}
- name: PLACERANK_TELEMETRY__METRICS_PORT
  value: "9090"
{{- with .managementUrl }}
- name: PLACERANK_BROKER__MANAGEMENT_URL
  value: {{ . | quote }}
{{- end }}
{{- end -}}
