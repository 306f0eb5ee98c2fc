{{/* The release's name begins every name: one release of this chart is one placerank. */}}
{{- define "placerank.fullname" -}}
{{ .Release.Name }}
{{- end -}}

{{/* Labels by which a part's pods are found; they never change, since selectors cannot. Takes (dict "root" $ "component" "api"). */}}
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
Key by key: sprig's merges do not let 0 or false win over a default. */}}
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

{{/* Messages for each pod that a class's autoscaler aims at: acceptable wait in seconds × rate of a pod. */}}
{{- define "placerank.targetBacklog" -}}
{{- if .targetBacklog -}}
{{ int64 .targetBacklog }}
{{- else -}}
{{ max 1 (mulf .acceptableWaitSeconds .ratePerReplica | floor | int64) }}
{{- end -}}
{{- end -}}

{{/* Who owns the number of a class's pods: keda, hpa, or nobody (empty). Takes (dict "root" $ "class" $merged).
On CPU alone nothing scales what has one pod at most. */}}
{{- define "placerank.scaler" -}}
{{- $mode := .root.Values.autoscaling.mode -}}
{{- if eq $mode "keda" -}}
keda
{{- else if and (eq $mode "hpa") (gt (int .class.maxReplicas) 1) -}}
hpa
{{- end -}}
{{- end -}}

{{/* The first class that works on the inference queue, for what is said to people. */}}
{{- define "placerank.inferenceClass" -}}
{{- $found := "" -}}
{{- range $name, $values := .Values.worker.classes -}}
{{- if and (not $found) (eq ($values.queue | default "") "inference") -}}{{- $found = $name -}}{{- end -}}
{{- end -}}
{{ $found }}
{{- end -}}
