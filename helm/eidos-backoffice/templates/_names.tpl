{{/* Name of a service's objects: <release>-<service>. */}}
{{- define "eidos.fullname" -}}
{{- printf "%s-%s" .root.Release.Name .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "eidos.selectorLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "eidos.labels" -}}
{{ include "eidos.selectorLabels" . }}
app.kubernetes.io/part-of: eidos-backoffice
app.kubernetes.io/version: {{ include "eidos.tag" . | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "eidos.tag" -}}
{{- .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- end -}}

{{/* Image of a service: <registry>/<service>:<tag>, or @digest where one is pinned. */}}
{{- define "eidos.image" -}}
{{- $repository := printf "%s/%s" (trimSuffix "/" .root.Values.image.registry) .name -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ include "eidos.tag" . }}
{{- end -}}
{{- end -}}

{{/* serviceDefaults overlaid with the service's own block, as YAML. */}}
{{- define "eidos.service" -}}
{{- mergeOverwrite (deepCopy .root.Values.serviceDefaults) (deepCopy .service) | toYaml -}}
{{- end -}}

{{/* The settings file of a service: shared settings, its own on top, and what the chart itself decides. */}}
{{- define "eidos.settings" -}}
{{- $merged := mergeOverwrite (deepCopy .root.Values.settings) (deepCopy (.service.settings | default dict)) -}}
{{- $chart := dict "service" (dict
      "name" .name
      "env" .root.Values.environment
      "version" (include "eidos.tag" .)
      "http_host" "0.0.0.0"
      "http_port" (int .service.ports.http)
      "grpc_host" "0.0.0.0"
      "grpc_port" (int .service.ports.grpc)
      "shutdown_soft" (printf "%ds" (int .service.shutdown.softSeconds))
      "shutdown_grace" (printf "%ds" (int .service.shutdown.graceSeconds))) -}}
{{- include "eidos.refuseSecrets" (dict "name" .name "settings" $merged) -}}
{{- mergeOverwrite $merged $chart | toYaml -}}
{{- end -}}

{{/* A ConfigMap is readable by everybody who may list it: credentials belong into secretEnv. */}}
{{- define "eidos.refuseSecrets" -}}
{{- $settings := .settings -}}
{{- range $source, $database := (get $settings "databases" | default dict) -}}
  {{- if or (hasKey $database "url") (hasKey $database "replica_url") -}}
    {{- fail (printf "settings.databases.%s.url holds a password: set EIDOS__DATABASES__%s__URL through secretEnv" $source (upper $source)) -}}
  {{- end -}}
{{- end -}}
{{- range $key := list "url" "password" -}}
  {{- if hasKey (get $settings "redis" | default dict) $key -}}
    {{- fail (printf "settings.redis.%s holds a password: set EIDOS__REDIS__%s through secretEnv" $key (upper $key)) -}}
  {{- end -}}
{{- end -}}
{{- if hasKey (get $settings "chain" | default dict) "rpc_url" -}}
  {{- fail "settings.chain.rpc_url may hold an API key: set EIDOS__CHAIN__RPC_URL through secretEnv" -}}
{{- end -}}
{{- range $key := list "tokens" "metrics_token" -}}
  {{- if hasKey (get $settings "auth" | default dict) $key -}}
    {{- fail (printf "settings.auth.%s holds tokens: set EIDOS__AUTH__%s through secretEnv" $key (upper $key)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Environment from existing secrets. */}}
{{- define "eidos.secretEnv" -}}
{{- range $variable, $reference := . }}
{{- if $reference }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ required (printf "secretEnv.%s.secret" $variable) $reference.secret }}
      key: {{ required (printf "secretEnv.%s.key" $variable) $reference.key }}
      {{- if $reference.optional }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "eidos.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "eidos.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
