{{/* Refuses options of one service that contradict each other. */}}
{{- define "eidos.checkService" -}}
{{- $service := .service -}}
{{- $keda := $service.keda -}}
{{- if and $service.autoscaling.enabled $keda.enabled -}}
  {{- fail (printf "services.%s has autoscaling.enabled and keda.enabled: two scalers of one Deployment undo each other; switch one off" .name) -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
  {{- $bounds := get $service $scaler -}}
  {{- if and $bounds.enabled (gt (int $bounds.minReplicas) (int $bounds.maxReplicas)) -}}
    {{- fail (printf "services.%s.%s.minReplicas is %v, above maxReplicas, %v" $.name $scaler $bounds.minReplicas $bounds.maxReplicas) -}}
  {{- end -}}
  {{- if and $bounds.enabled (not $service.serve) -}}
    {{- fail (printf "services.%s has %s.enabled and serve: false: there is no Deployment to scale" $.name $scaler) -}}
  {{- end -}}
{{- end -}}
{{- if $keda.enabled -}}
  {{- if and (not $keda.triggers) (not ($keda.kafka | default dict).bootstrapServers) -}}
    {{- fail (printf "services.%s.keda has nothing to scale by: set keda.kafka.bootstrapServers (and consumerGroup), or keda.triggers" .name) -}}
  {{- end -}}
  {{- if and ($keda.kafka | default dict).bootstrapServers (not $keda.kafka.consumerGroup) -}}
    {{- fail (printf "services.%s.keda.kafka.consumerGroup is not set: it is the group whose lag counts" .name) -}}
  {{- end -}}
{{- end -}}
{{- if and (not $service.serve) (not $service.cronJobs) -}}
  {{- fail (printf "services.%s has serve: false and no cronJobs: nothing would run; set cronJobs, or enabled: false" .name) -}}
{{- end -}}
{{- end -}}

{{/* Refuses names of alerts that no rule has. */}}
{{- define "eidos.checkAlerts" -}}
{{- $known := list -}}
{{- range $path, $_ := .Files.Glob "rules/**.yaml" -}}
  {{- range $group := (($.Files.Get $path | fromYaml).groups) -}}
    {{- range $rule := $group.rules -}}{{- $known = append $known $rule.alert -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $known = $known | uniq | sortAlpha -}}
{{- range $name := .Values.alertRules.disabled -}}
  {{- if not (has $name $known) -}}
    {{- fail (printf "alertRules.disabled: there is no alert %s; there are %s" $name (join ", " $known)) -}}
  {{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.alertRules.overrides -}}
  {{- if not (has $name $known) -}}
    {{- fail (printf "alertRules.overrides: there is no alert %s; there are %s" $name (join ", " $known)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
