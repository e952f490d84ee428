{{/* What every pod of the release has, whatever it runs. `service`: the block whose options it has. */}}
{{- define "eidos.podOptions" -}}
{{- $options := .service -}}
{{- with $options.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml $options.podSecurityContext | nindent 2 }}
{{- with $options.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $options.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $options.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $options.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: the operator's, and the chart's on top, since selectors need those. */}}
{{- define "eidos.podLabels" -}}
{{- $own := include "eidos.labels" . | fromYaml -}}
{{- toYaml (mergeOverwrite (deepCopy (.service.podLabels | default dict)) $own) -}}
{{- end -}}

{{/* Variables that make PostgreSQL, and where wanted HTTPS, trust the bundle of private authorities. */}}
{{- define "eidos.caEnv" -}}
{{- with include "eidos.caFile" . }}
- { name: PGSSLROOTCERT, value: {{ . }} }
{{- if $.Values.caBundle.https }}
- { name: SSL_CERT_FILE, value: {{ . }} }
{{- end }}
{{- end }}
{{- end -}}

{{- define "eidos.caMount" -}}
{{- if include "eidos.caFile" . }}
- { name: ca-bundle, mountPath: /etc/eidos-ca, readOnly: true }
{{- end }}
{{- end -}}

{{- define "eidos.caVolume" -}}
{{- if and .Values.caBundle.configMap .Values.caBundle.secret -}}
  {{- fail "caBundle names a configMap and a secret: give one of the two" -}}
{{- end -}}
{{- if .Values.caBundle.configMap }}
- name: ca-bundle
  configMap: { name: {{ .Values.caBundle.configMap }} }
{{- else if .Values.caBundle.secret }}
- name: ca-bundle
  secret: { secretName: {{ .Values.caBundle.secret }} }
{{- end }}
{{- end -}}

{{/* The pod of a service: of its Deployment (`args: [serve]`, `probes: true`), and of its CronJobs. */}}
{{- define "eidos.servicePod" -}}
{{- $service := .service -}}
serviceAccountName: {{ include "eidos.serviceAccount" . }}
{{ include "eidos.podOptions" . | trim }}
terminationGracePeriodSeconds: {{ add (int $service.shutdown.softSeconds) (int $service.shutdown.graceSeconds) 15 }}
{{- with $service.initContainers }}
initContainers: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "eidos.image" . }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 6 }}
    {{- if .probes }}
    ports:
      - { name: http, containerPort: {{ $service.ports.http }} }
      - { name: grpc, containerPort: {{ $service.ports.grpc }} }
    {{- end }}
    env:
      # Not an argument of serve alone: whoever runs another command in the pod must get the same settings.
      - { name: EIDOS_CONFIG, value: /etc/eidos/settings.yaml }
      {{- with include "eidos.caEnv" .root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with include "eidos.secretEnv" (include "eidos.effectiveSecretEnv" . | fromYaml) | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- include "eidos.refuseSecretVariables" $service.extraEnv }}
      {{- with $service.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $service.extraEnvFrom }}
    envFrom: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .probes }}
    {{- with $service.probes.startup }}
    startupProbe: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $service.probes.liveness }}
    livenessProbe: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $service.probes.readiness }}
    readinessProbe: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    resources: {{- toYaml $service.resources | nindent 6 }}
    securityContext: {{- toYaml $service.securityContext | nindent 6 }}
    volumeMounts:
      - { name: settings, mountPath: /etc/eidos, readOnly: true }
      - { name: tmp, mountPath: /tmp }
      {{- with include "eidos.caMount" .root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with $service.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with $service.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: settings
    configMap: { name: {{ include "eidos.fullname" (dict "root" .root "name" .name) }} }
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
  {{- with include "eidos.caVolume" .root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $service.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A container of eidosctl: `containerName`, `args`, `env` (text of entries), `resources`, and the pod's options. */}}
{{- define "eidos.toolContainer" -}}
- name: {{ .containerName }}
  image: {{ include "eidos.image" . }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: {{- toYaml .args | nindent 4 }}
  {{- include "eidos.refuseSecretVariables" .service.extraEnv }}
  {{- $env := compact (list (include "eidos.caEnv" .root | trim) (.env | trim)) }}
  {{- if or $env .service.extraEnv }}
  env:
    {{- range $env }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .service.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .service.extraEnvFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  resources: {{- toYaml .service.resources | nindent 4 }}
  securityContext: {{- toYaml .service.securityContext | nindent 4 }}
  {{- $mounts := include "eidos.caMount" .root | trim }}
  {{- if or $mounts .service.extraVolumeMounts }}
  volumeMounts:
    {{- with $mounts }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .service.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* The volumes of a pod of eidosctl, or nothing. */}}
{{- define "eidos.toolVolumes" -}}
{{- $bundle := include "eidos.caVolume" .root | trim -}}
{{- if or $bundle .service.extraVolumes }}
volumes:
  {{- with $bundle }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .service.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}
