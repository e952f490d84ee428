{{/*
Which services a file of rules/ or dashboards/ is about; `[any]`: about jobs as such. Files of rules/<service>/ are that service's.
*/}}
{{- define "eidos.subjects" -}}
rules/jobs.yaml: [any]
rules/disposal.yaml: [retention-manager, archiver]
dashboards/jobs.json: [any]
dashboards/overview.json: [any]
dashboards/disposal.json: [retention-manager, archiver]
dashboards/expiry.json: [order-expirer]
dashboards/health.json: [health-probe]
dashboards/market.json: [aggregator]
dashboards/reconciliation.json: [recon-svc]
{{- end -}}

{{/* Whether `path` is about a service that serves its metrics here: "true" or nothing. */}}
{{- define "eidos.isWanted" -}}
{{- $subjects := get (include "eidos.subjects" .root | fromYaml) .path -}}
{{- $parts := splitList "/" .path -}}
{{- if eq (len $parts) 3 -}}
  {{- $subjects = list (index $parts 1) -}}
{{- else if not $subjects -}}
  {{- fail (printf "%s: templates/_monitoring.tpl does not say which services it is about" .path) -}}
{{- end -}}
{{- $wanted := false -}}
{{- range $name, $service := include "eidos.services" .root | fromYaml -}}
  {{- if and $service.serve (or (has "any" $subjects) (has $name $subjects)) -}}{{- $wanted = true -}}{{- end -}}
{{- end -}}
{{- if $wanted -}}true{{- end -}}
{{- end -}}

{{/* The groups of a file of rules without the alerts that are switched off, and with what is different in others. */}}
{{- define "eidos.rules" -}}
{{- $options := .root.Values.alertRules -}}
{{- $groups := list -}}
{{- range $group := (.root.Files.Get .path | replace "https://runbooks.example/" (printf "%s/" (trimSuffix "/" $options.runbookBaseUrl)) | fromYaml).groups -}}
  {{- $rules := list -}}
  {{- range $rule := $group.rules -}}
    {{- if not (has $rule.alert $options.disabled) -}}
      {{- $own := get $options.overrides $rule.alert | default dict -}}
      {{- if hasKey $own "for" -}}{{- $_ := set $rule "for" (get $own "for") -}}{{- end -}}
      {{- if $own.severity -}}{{- $_ := set $rule.labels "severity" $own.severity -}}{{- end -}}
      {{- $_ := set $rule "labels" (mergeOverwrite $rule.labels ($own.labels | default dict)) -}}
      {{- $_ := set $rule "annotations" (mergeOverwrite $rule.annotations ($own.annotations | default dict)) -}}
      {{- $rules = append $rules $rule -}}
    {{- end -}}
  {{- end -}}
  {{- if $rules -}}{{- $groups = append $groups (dict "name" $group.name "rules" $rules) -}}{{- end -}}
{{- end -}}
{{- if $groups -}}{{- toYaml (dict "groups" $groups) -}}{{- end -}}
{{- end -}}
