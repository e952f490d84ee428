{{/* Every Secret that the release reads and does not make, as YAML: name to key to who reads it. */}}
{{- define "eidos.secrets" -}}
{{- $read := list -}}
{{- range $name, $service := include "eidos.services" . | fromYaml -}}
  {{- range $variable, $from := include "eidos.effectiveSecretEnv" (dict "root" $ "service" $service) | fromYaml -}}
    {{- if $from -}}
      {{- $read = append $read (dict "secret" $from.secret "key" (printf "%s%s" $from.key (ternary " (optional)" "" (eq (toString $from.optional) "true"))) "who" $name) -}}
    {{- end -}}
  {{- end -}}
  {{- range $variable := $service.extraEnv -}}
    {{- with ($variable.valueFrom | default dict).secretKeyRef -}}
      {{- $read = append $read (dict "secret" .name "key" .key "who" $name) -}}
    {{- end -}}
  {{- end -}}
  {{- range $source := $service.extraEnvFrom -}}
    {{- with $source.secretRef -}}
      {{- $read = append $read (dict "secret" .name "key" "(all keys)" "who" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if .Values.migrate.enabled -}}
  {{- $read = append $read (merge (dict "who" "migrate") (pick .Values.migrate.database "secret" "key")) -}}
  {{- range $database, $foreign := .Values.migrate.foreignDatabases -}}
    {{- if $foreign -}}
      {{- $read = append $read (merge (dict "who" "migrate") (pick $foreign "secret" "key")) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if .Values.tests.enabled -}}
  {{- $read = append $read (merge (dict "who" "helm test") (pick .Values.tests.token "secret" "key")) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.serviceMonitor.token -}}
  {{- $read = append $read (merge (dict "who" "Prometheus") (pick .Values.serviceMonitor.token "secret" "key")) -}}
{{- end -}}
{{- if .Values.caBundle.secret -}}
  {{- $read = append $read (dict "secret" .Values.caBundle.secret "key" .Values.caBundle.key "who" "every pod") -}}
{{- end -}}
{{- $secrets := dict -}}
{{- range $read -}}
  {{- $keys := get $secrets .secret | default dict -}}
  {{- $_ := set $keys .key (append (get $keys .key | default list) .who | uniq) -}}
  {{- $_ := set $secrets .secret $keys -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}
