{{/* The broker's files; a change in them restarts the pod. */}}
{{- define "rabbitmq.files" -}}
enabled_plugins: |
  [rabbitmq_management,rabbitmq_prometheus].
rabbitmq.conf: |
  log.console = true
  # A line for each connection and probe says little, and hides what matters.
  log.connection.level = warning
  listeners.tcp.default = 5672
  management.tcp.port = 15672
  prometheus.tcp.port = 15692
  # The lengths of queues are what workers are scaled by: statistics stay on.
  management_agent.disable_metrics_collector = false
  deprecated_features.permit.management_metrics_collection = true
  vm_memory_high_watermark.relative = {{ .Values.memoryHighWatermark }}
  disk_free_limit.absolute = {{ .Values.diskFreeLimit }}
  definitions.import_backend = local_filesystem
  definitions.local.path = /var/lib/rabbitmq/definitions.json
  {{- with .Values.extraConfig }}
  {{- . | trim | nindent 2 }}
  {{- end }}
topology.json: |
  {{- .Files.Get "files/topology.json" | replace "@VHOST@" .Values.vhost | trim | nindent 2 }}
prepare.sh: |
  {{- .Files.Get "files/prepare.sh" | trim | nindent 2 }}
{{- end -}}
