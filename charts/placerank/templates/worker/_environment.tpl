{{/* Variables of a worker beyond those of every process. torch's caches go to a writable folder. Takes a class. */}}
{{- define "placerank.workerEnvironment" -}}
- name: PLACERANK_WORKER__HEARTBEAT_FILE
  value: /tmp/heartbeat
- name: PLACERANK_WORKER__DEVICE
  value: {{ .device }}
- name: PLACERANK_WORKER__TORCH_THREADS
  value: {{ int .torchThreads | quote }}
- name: PLACERANK_WORKER__BATCH_SIZE
  value: {{ int .batchSize | quote }}
- name: PLACERANK_WORKER__THREADS
  value: {{ int .threads | quote }}
- name: PLACERANK_TELEMETRY__METRICS_PORT
  value: "9090"
- name: HOME
  value: /tmp
- name: XDG_CACHE_HOME
  value: /tmp/cache
- name: TORCHINDUCTOR_CACHE_DIR
  value: /tmp/cache/torchinductor
- name: TRITON_CACHE_DIR
  value: /tmp/cache/triton
{{- end -}}
