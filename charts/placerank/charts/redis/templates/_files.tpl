{{/* The server's files; a change in them restarts the pod. */}}
{{- define "redis.files" -}}
redis.conf: |
  bind * -::*
  port 6379
  dir /data
  maxmemory {{ .Values.maxMemory }}
  maxmemory-policy allkeys-lru
  appendonly no
  save {{ if .Values.persistence.enabled }}300 100{{ else }}""{{ end }}
start.sh: |
  {{- .Files.Get "files/start.sh" | trim | nindent 2 }}
{{- end -}}
