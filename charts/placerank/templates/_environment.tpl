{{/* An environment variable from a Secret. Takes (dict "name" … "secret" … "key" …). */}}
{{- define "placerank.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
{{- end -}}

{{/* Variables of every process: addresses without credentials, and the credentials from their Secrets. The process
itself quotes the credentials into the addresses, so that a password may contain any character. Takes the root. */}}
{{- define "placerank.environment" -}}
{{- $database := include "placerank.database" . | fromJson -}}
{{- $broker := include "placerank.broker" . | fromJson -}}
{{- $cache := include "placerank.cache" . | fromJson -}}
- name: DATABASE_URL
  value: {{ printf "postgresql://%s:%d/%s?sslmode=%s" $database.host (int $database.port) $database.database $database.sslmode | quote }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_DATABASE__USER" "secret" $database.secret "key" $database.usernameKey) }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_DATABASE__PASSWORD" "secret" $database.secret "key" $database.passwordKey) }}
- name: CELERY_BROKER_URL
  value: {{ printf "%s://%s:%d/%s" (ternary "amqps" "amqp" $broker.tls) $broker.host (int $broker.port) (urlquery $broker.vhost | replace "+" "%20") | quote }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_BROKER__USER" "secret" $broker.secret "key" $broker.usernameKey) }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_BROKER__PASSWORD" "secret" $broker.secret "key" $broker.passwordKey) }}
- name: CELERY_BACKEND_URL
  value: {{ printf "%s://%s:%d/%d" (ternary "rediss" "redis" $cache.tls) $cache.host (int $cache.port) (int $cache.database) | quote }}
{{- if $cache.usernameKey }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_CACHE__USER" "secret" $cache.secret "key" $cache.usernameKey) }}
{{- end }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_CACHE__PASSWORD" "secret" $cache.secret "key" $cache.passwordKey) }}
- name: PLACERANK_TELEMETRY__LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: PLACERANK_INFERENCE__ANSWER_SIZE
  value: {{ int .Values.inference.answerSize | quote }}
- name: PLACERANK_INFERENCE__BACKLOG_LIMIT
  value: {{ int64 .Values.inference.backlogLimit | quote }}
{{- with .Values.inference.deadlineSeconds }}
- name: PLACERANK_INFERENCE__DEADLINE_S
  value: {{ . | quote }}
{{- end }}
{{- if .Values.caCertificates.existingConfigMap }}
- name: SSL_CERT_FILE
  value: /etc/placerank/ca/ca.crt
- name: PGSSLROOTCERT
  value: /etc/placerank/ca/ca.crt
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ int64 $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end -}}

{{/* The bearer keys, if there are any. Takes the root. */}}
{{- define "placerank.keys" -}}
{{- with .Values.api.auth }}
{{- if .existingSecret }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_API__KEYS" "secret" .existingSecret "key" .keysKey) }}
{{ include "placerank.secretVariable" (dict "name" "PLACERANK_API__ADMIN_KEYS" "secret" .existingSecret "key" .adminKeysKey) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A list of variables in YAML, with only the last one of each name: the API server rejects duplicate names. The
variables that remain keep their order, so that $(NAME) can refer to earlier ones. */}}
{{- define "placerank.lastOfEach" -}}
{{- $seen := dict -}}
{{- $kept := list -}}
{{- range reverse (fromYamlArray .) -}}
{{- if not (hasKey $seen .name) -}}
{{- $_ := set $seen .name true -}}
{{- $kept = prepend $kept . -}}
{{- end -}}
{{- end -}}
{{ toYaml $kept }}
{{- end -}}

{{/* All variables of a container: those of every process, its own, and its extraEnv. Takes the pod's dict. */}}
{{- define "placerank.variables" -}}
{{- $all := list (include "placerank.environment" .root) (.environment | default "" | trim) -}}
{{- with (.placement | default dict).extraEnv -}}
{{- $all = append $all (toYaml .) -}}
{{- end -}}
{{ include "placerank.lastOfEach" (join "\n" $all) }}
{{- end -}}

{{/* Fails for a variable with placerank's prefix that is no setting. Takes (dict "at" … "name" …). */}}
{{- define "placerank.checkName" -}}
{{- if and (hasPrefix "PLACERANK_" (upper .name)) (not (regexMatch "^PLACERANK_[A-Z0-9]+__[A-Z0-9_]+$" (upper .name))) -}}
{{- fail (printf "%s has %s, which is not a setting of placerank, because its name has no double underscore: use a name of docs/reference/settings.md." .at .name) -}}
{{- end -}}
{{- end -}}

{{/* Fails for a variable that guards something and holds nothing usable. Takes (dict "at" … "name" … "value" …). */}}
{{- define "placerank.checkVariable" -}}
{{- include "placerank.checkName" . -}}
{{- $name := upper .name -}}
{{- if regexMatch "^PLACERANK_API__(ADMIN_)?KEYS$" $name -}}
{{- $keys := list -}}
{{- range splitList "," .value -}}
{{- $keys = append $keys (trim .) -}}
{{- end -}}
{{- $keys = without $keys "" -}}
{{- if not $keys -}}
{{- fail (printf "%s.%s holds no key: give it one, or remove it to leave its routes open." .at .name) -}}
{{- end -}}
{{- range $keys -}}
{{- if not (and (regexMatch "^[!-~]+$" .) (regexMatch "[0-9A-Za-z]" .)) -}}
{{- fail (printf "%s.%s holds a key that no client can send: use visible ASCII characters with a letter or a digit, and commas between keys." $.at $.name) -}}
{{- end -}}
{{- end -}}
{{- else if and (regexMatch "^PLACERANK_[A-Z]+__PASSWORD$" $name) (not (trim .value)) -}}
{{- fail (printf "%s.%s is blank: give it a value or remove it." .at .name) -}}
{{- end -}}
{{- end -}}
