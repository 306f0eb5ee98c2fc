{{/* Security context of a container: Pod Security "restricted", and a read-only root file system. */}}
{{- define "placerank.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Security context of a pod of placerank's images. */}}
{{- define "placerank.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "placerank.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.caCertificates.existingConfigMap }}
- {name: ca, mountPath: /etc/placerank/ca, readOnly: true}
{{- end }}
{{- if .shmSize }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- end -}}

{{/* The init container that waits for a migrated database and reports wrong credentials. */}}
{{- define "placerank.waiting" -}}
- name: wait
  image: {{ include "placerank.image" (dict "root" .root "name" .image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: [wait]
  env:
    {{- include "placerank.variables" (omit . "environment") | nindent 4 }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  securityContext:
    {{- include "placerank.containerSecurity" . | nindent 4 }}
  volumeMounts:
    {{- include "placerank.mounts" . | nindent 4 }}
{{- end -}}

{{/* The pod template of every component. Takes a dict:
root, component, class (optional label), image (api|worker), args, resources,
container (YAML of ports, probes, lifecycle; optional), environment (YAML; optional), wait (bool),
placement (a map with nodeSelector, tolerations, …; optional), grace, restartPolicy, shmSize (optional). */}}
{{- define "placerank.pod" -}}
metadata:
  labels:
    {{- include "placerank.selectorLabels" . | nindent 4 }}
    {{- with .root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "placerank.fullname" .root }}-{{ .component }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "placerank.podSecurity" . | nindent 4 }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ int . }}
  {{- end }}
  {{- with .placement }}
  {{- with .priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "placerank.selectorLabels" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- end }}
  {{- if .wait }}
  initContainers:
    {{- include "placerank.waiting" . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "placerank.image" (dict "root" .root "name" .image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        {{- include "placerank.variables" . | nindent 8 }}
      {{- with .container }}
      {{- . | trim | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "placerank.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "placerank.mounts" . | nindent 8 }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with .root.Values.caCertificates }}
    {{- if .existingConfigMap }}
    - name: ca
      configMap:
        name: {{ .existingConfigMap }}
        items: [{key: {{ .key }}, path: ca.crt}]
    {{- end }}
    {{- end }}
    {{- with .shmSize }}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ . }}}
    {{- end }}
{{- end -}}
