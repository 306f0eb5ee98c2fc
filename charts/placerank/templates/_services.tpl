{{/* Addresses of the three services as JSON: the subchart's service or the external one. */}}
{{- define "placerank.database" -}}
{{- if .Values.postgresql.enabled -}}
{{- $auth := .Values.postgresql.auth -}}
{{- toJson (dict
  "host" (include "postgresql.fullname" .Subcharts.postgresql) "port" 5432 "database" $auth.database "sslmode" "disable"
  "secret" (include "postgresql.secretName" .Subcharts.postgresql)
  "usernameKey" $auth.usernameKey "passwordKey" $auth.passwordKey) -}}
{{- else -}}
{{- $external := .Values.externalPostgresql -}}
{{- toJson (merge (dict "secret" $external.existingSecret) $external) -}}
{{- end -}}
{{- end -}}

{{/* The management API has a full host name, because KEDA calls it from another namespace. */}}
{{- define "placerank.broker" -}}
{{- if .Values.rabbitmq.enabled -}}
{{- $auth := .Values.rabbitmq.auth -}}
{{- $host := include "rabbitmq.fullname" .Subcharts.rabbitmq -}}
{{- toJson (dict
  "host" $host "port" 5672 "vhost" .Values.rabbitmq.vhost "tls" false
  "managementUrl" (printf "http://%s.%s.svc:15672" $host .Release.Namespace)
  "secret" (include "rabbitmq.secretName" .Subcharts.rabbitmq)
  "usernameKey" $auth.usernameKey "passwordKey" $auth.passwordKey) -}}
{{- else -}}
{{- $external := .Values.externalRabbitmq -}}
{{- toJson (merge (dict "secret" $external.existingSecret "managementUrl" (trimSuffix "/" $external.managementUrl)) $external) -}}
{{- end -}}
{{- end -}}

{{- define "placerank.cache" -}}
{{- if .Values.redis.enabled -}}
{{- toJson (dict
  "host" (include "redis.fullname" .Subcharts.redis) "port" 6379 "database" 0 "tls" false
  "secret" (include "redis.secretName" .Subcharts.redis)
  "usernameKey" "" "passwordKey" .Values.redis.auth.passwordKey) -}}
{{- else -}}
{{- $external := .Values.externalRedis -}}
{{- toJson (merge (dict "secret" $external.existingSecret) $external) -}}
{{- end -}}
{{- end -}}
