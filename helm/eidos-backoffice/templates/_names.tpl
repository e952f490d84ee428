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
{{- include "eidos.refuseSecrets" (dict "path" list "settings" $merged) -}}
{{- mergeOverwrite $merged $chart | toYaml -}}
{{- end -}}

{{/*
A ConfigMap is readable by everybody who may list it: credentials belong into secretEnv. Walks all settings, so that a
section which is added later is covered: keys with the name of a secret (those of crates/settings/src/secret.rs), places
that may hold one, and URLs with user info. A value that is not there (null, "", [], {}) is no secret.
*/}}
{{- define "eidos.refuseSecrets" -}}
{{- $path := .path -}}
{{- range $key, $value := .settings -}}
  {{- if $value -}}
    {{- $here := append $path $key -}}
    {{- $name := join "." $here -}}
    {{- $isPlace := regexMatch "^(auth[.]tokens|archive_store[.]options|redis[.]url|chain[.]rpc_urls?|databases[.][^.]+[.](replica_)?url)$" $name -}}
    {{- $isSecret := regexMatch "(^|_)(password|passwd|passphrase|secrets?|token|credentials?|private_key|api_?key|access_key|webhooks?|webhook_urls?|dsn)$" (lower $key | replace "-" "_") -}}
    {{- $hasUser := and (kindIs "string" $value) (regexMatch "://[^/]*@" $value) -}}
    {{- if or $isPlace $isSecret $hasUser -}}
      {{- fail (printf "settings.%s may hold a credential, and a ConfigMap is readable by everybody who may list it: set %s through secretEnv" $name (include "eidos.variable" $here)) -}}
    {{- end -}}
    {{- if kindIs "map" $value -}}
      {{- include "eidos.refuseSecrets" (dict "path" $here "settings" $value) -}}
    {{- else if kindIs "slice" $value -}}
      {{- range $index, $item := $value -}}
        {{- if kindIs "map" $item -}}
          {{- include "eidos.refuseSecrets" (dict "path" (append $here (toString $index)) "settings" $item) -}}
        {{- else if and (kindIs "string" $item) (regexMatch "://[^/]*@" $item) -}}
          {{- fail (printf "settings.%s.%d may hold a credential, and a ConfigMap is readable by everybody who may list it: set %s through secretEnv" $name $index (include "eidos.variable" $here)) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The environment variable of a key path: EIDOS__ARCHIVE_STORE__SECRET_ACCESS_KEY. */}}
{{- define "eidos.variable" -}}
{{- printf "EIDOS__%s" (join "__" . | upper | replace "-" "_") -}}
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
