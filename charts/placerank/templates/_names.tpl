{{/* Every name begins with the release's name. */}}
{{- define "placerank.fullname" -}}
{{ .Release.Name }}
{{- end -}}

{{/* Selector labels of a component's pods. They must never change, because selectors are immutable. Takes (dict "root" $ "component" "api"). */}}
{{- define "placerank.selectorLabels" -}}
app.kubernetes.io/name: placerank
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .class }}
placerank.io/class: {{ . }}
{{- end }}
{{- end -}}

{{- define "placerank.labels" -}}
{{ include "placerank.selectorLabels" . }}
app.kubernetes.io/part-of: placerank
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Reference of an image. Takes (dict "root" $ "name" "api"). */}}
{{- define "placerank.image" -}}
{{- $image := index .root.Values.image .name -}}
{{- $repository := $image.repository -}}
{{- with .root.Values.image.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* A class of workers with the defaults filled in, as JSON. Takes (dict "root" $ "class" (a value of worker.classes)).
Merged key by key, because sprig's merge functions do not let 0 or false replace a default. */}}
{{- define "placerank.class" -}}
{{- $merged := deepCopy .root.Values.worker.defaults -}}
{{- range $key, $value := .class -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $merged $key (mergeOverwrite (deepCopy (get $merged $key | default dict)) (deepCopy $value)) -}}
{{- else -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{ toJson $merged }}
{{- end -}}

{{/* Target number of messages for each pod of a class: acceptable wait in seconds × rate of a pod. */}}
{{- define "placerank.targetBacklog" -}}
{{- if .targetBacklog -}}
{{ int64 .targetBacklog }}
{{- else -}}
{{ max 1 (mulf .acceptableWaitSeconds .ratePerReplica | floor | int64) }}
{{- end -}}
{{- end -}}

{{/* The autoscaler of a class: keda, hpa, or none (empty). Takes (dict "root" $ "class" $merged).
In mode hpa, a class of at most one pod has no autoscaler. */}}
{{- define "placerank.scaler" -}}
{{- $mode := .root.Values.autoscaling.mode -}}
{{- if eq $mode "keda" -}}
keda
{{- else if and (eq $mode "hpa") (gt (int .class.maxReplicas) 1) -}}
hpa
{{- end -}}
{{- end -}}

{{/* The first class that works on the inference queue, for NOTES.txt. */}}
{{- define "placerank.inferenceClass" -}}
{{- $found := "" -}}
{{- range $name, $values := .Values.worker.classes -}}
{{- if and (not $found) (eq ($values.queue | default "") "inference") -}}{{- $found = $name -}}{{- end -}}
{{- end -}}
{{ $found }}
{{- end -}}
