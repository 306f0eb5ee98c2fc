{{/* Egress rules to one service: to its pod if the release installs it, else to networkPolicy.externalServices.
Takes (dict "root" $ "name" "rabbitmq" "port" 5672 "inside" true). */}}
{{- define "placerank.egressTo" -}}
- ports: [{port: {{ int .port }}, protocol: TCP}]
  {{- if .inside }}
  to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ .name }}
          app.kubernetes.io/instance: {{ .root.Release.Name }}
  {{- else }}
  {{- with .root.Values.networkPolicy.externalServices }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Pods of placerank whose component is one of a list. Takes (dict "root" $ "components" (list …)). */}}
{{- define "placerank.podsOf" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: placerank
    app.kubernetes.io/instance: {{ .root.Release.Name }}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .components }}]}
{{- end -}}

{{/* The port of the management API, from its address. Takes the broker. */}}
{{- define "placerank.managementPort" -}}
{{- $url := urlParse .managementUrl -}}
{{- if regexMatch ":[0-9]+$" $url.host -}}
{{ regexFind "[0-9]+$" $url.host }}
{{- else -}}
{{ ternary "443" "80" (eq $url.scheme "https") }}
{{- end -}}
{{- end -}}
