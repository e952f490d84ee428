{{/* What stands before the service's name in the names of objects. */}}
{{- define "eidos.prefix" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if .Values.nameOverride -}}
{{ printf "%s-%s" .Release.Name .Values.nameOverride }}
{{- else -}}
{{ .Release.Name }}
{{- end -}}
{{- end -}}

{{/*
Name of an object: <prefix>-<name>, at most 63 characters (`longest`). The prefix is cut, never the service's name: alerts and
dashboards know a service by it.
*/}}
{{- define "eidos.fullname" -}}
{{- $longest := .longest | default 63 | int -}}
{{- $room := sub $longest (add1 (len .name)) | int -}}
{{- printf "%s-%s" (include "eidos.prefix" .root | trunc $room | trimSuffix "-") .name -}}
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
{{- $repository := printf "%s/%s" (trimSuffix "/" .root.Values.image.registry) (.image | default .name) -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ include "eidos.tag" . }}
{{- end -}}
{{- end -}}

{{/* The account of a service's pods. */}}
{{- define "eidos.serviceAccount" -}}
{{- $account := .service.serviceAccount -}}
{{- if $account.create -}}
{{ $account.name | default (include "eidos.fullname" .) }}
{{- else -}}
{{ $account.name | default "default" }}
{{- end -}}
{{- end -}}

{{/*
serviceDefaults overlaid with the service's own block, as YAML. Lists that an operator adds for all services are added to, so
that a service's own do not hide them. A key of a security context that is null is left out.
*/}}
{{- define "eidos.service" -}}
{{- $defaults := .root.Values.serviceDefaults -}}
{{- $block := .service | default dict -}}
{{- $service := mergeOverwrite (deepCopy $defaults) (deepCopy $block) -}}
{{- range $key := list "extraEnv" "extraEnvFrom" "initContainers" "extraContainers" "extraVolumes" "extraVolumeMounts" -}}
  {{- $_ := set $service $key (concat (get $defaults $key | default list) (get $block $key | default list)) -}}
{{- end -}}
{{- range $context := list "podSecurityContext" "securityContext" -}}
  {{- $kept := dict -}}
  {{- range $key, $value := get $service $context | default dict -}}
    {{- if not (kindIs "invalid" $value) -}}{{- $_ := set $kept $key $value -}}{{- end -}}
  {{- end -}}
  {{- $_ := set $service $context $kept -}}
{{- end -}}
{{- toYaml $service -}}
{{- end -}}

{{/* The enabled services with what each has, as YAML: name to block. */}}
{{- define "eidos.services" -}}
{{- $services := dict -}}
{{- range $name, $block := .Values.services -}}
  {{- $service := include "eidos.service" (dict "root" $ "service" $block) | fromYaml -}}
  {{- if $service.enabled -}}{{- $_ := set $services $name $service -}}{{- end -}}
{{- end -}}
{{- toYaml $services -}}
{{- end -}}
