{{/* Where the bundle of private authorities is, or nothing. */}}
{{- define "eidos.caFile" -}}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret -}}
/etc/eidos-ca/{{ .Values.caBundle.key }}
{{- end -}}
{{- end -}}

{{/*
The settings file of a service: shared settings, its own on top, and what the chart itself decides. A job that a CronJob starts
has no schedule of its own.
*/}}
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
{{- range $job, $_ := .service.cronJobs | default dict -}}
  {{- $chart = mergeOverwrite $chart (dict "jobs" (dict $job (dict "enabled" false))) -}}
{{- end -}}
{{- include "eidos.refuseSecrets" (dict "path" list "settings" $merged) -}}
{{- with include "eidos.caFile" .root -}}
  {{- $merged = mergeOverwrite (dict "security" (dict "redis" (dict "ca_cert" .))) $merged -}}
{{- end -}}
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
    {{- if include "eidos.mayBeSecret" (dict "name" $name "key" $key "value" $value) -}}
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

{{/* Whether a value may be a credential, by its place (`name`), its key and its text: "true" or nothing. */}}
{{- define "eidos.mayBeSecret" -}}
{{- $isPlace := regexMatch "^(auth[.]tokens|archive_store[.]options|redis[.]url|chain[.](second_)?rpc_urls?|databases[.][^.]+[.](replica_)?url)([.]|$)" .name -}}
{{- $isSecret := regexMatch "(^|_)(password|passwd|passphrase|secrets?|token|credentials?|private_key|api_?key|access_key|webhooks?|webhook_urls?|dsn)$" (lower .key | replace "-" "_") -}}
{{- $hasUser := and (kindIs "string" .value) (regexMatch "://[^/]*@" .value) -}}
{{- if or $isPlace $isSecret $hasUser -}}true{{- end -}}
{{- end -}}

{{/* Refuses a variable whose value stands in the values and may be a credential. */}}
{{- define "eidos.refuseSecretVariables" -}}
{{- range . -}}
  {{- if .value -}}
    {{- $place := trimPrefix "eidos__" (lower .name) | replace "__" "." -}}
    {{- if include "eidos.mayBeSecret" (dict "name" $place "key" (splitList "." $place | last) "value" (toString .value)) -}}
      {{- fail (printf "extraEnv: %s may hold a credential, and a Deployment is readable by everybody who may list it: set %s through secretEnv" .name .name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The environment variable of a key path: EIDOS__ARCHIVE_STORE__SECRET_ACCESS_KEY. */}}
{{- define "eidos.variable" -}}
{{- printf "EIDOS__%s" (join "__" . | upper | replace "-" "_") -}}
{{- end -}}

{{/* Environment from existing Secrets. */}}
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

{{/* The variables of a service from Secrets: those of every service, and its own on top. */}}
{{- define "eidos.effectiveSecretEnv" -}}
{{- mergeOverwrite (deepCopy .root.Values.secretEnv) (deepCopy (.service.secretEnv | default dict)) | toYaml -}}
{{- end -}}
