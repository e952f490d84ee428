{{/* Rules for egress: DNS, the named `destinations` (maps, later ones win), and metadata endpoints for pod identity. */}}
{{- define "eidos.egress" -}}
- ports:
    - { port: 53, protocol: UDP }
    - { port: 53, protocol: TCP }
  {{- with .root.Values.networkPolicy.dnsTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- $all := dict -}}
{{- range $destinations := .destinations -}}
  {{- range $name, $destination := $destinations | default dict -}}{{- $_ := set $all $name $destination -}}{{- end -}}
{{- end -}}
{{- range $name, $destination := $all }}
{{- if $destination }}
# {{ $name }}
- ports:
    {{- range $destination.ports }}
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
  {{- with $destination.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- if .podIdentity }}
# credentials of the pod's account
- ports:
    {{- range .root.Values.networkPolicy.metadata.ports }}
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
  to:
    {{- range .root.Values.networkPolicy.metadata.cidrs }}
    - ipBlock: { cidr: {{ . | quote }} }
    {{- end }}
{{- end }}
{{- end -}}
