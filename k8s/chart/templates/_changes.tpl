{{/* What values.yaml says, done to the objects of base and ingress, in place. Each takes dict "object" "values". */}}

{{/* dict "image" "base": the image of base, with the repository and tag that are stated. */}}
{{- define "simyard.image" }}
  {{- $base := splitList ":" .base }}
  {{- .image.repository | default (first $base) }}:{{ .image.tag | default (last $base) }}
{{- end }}

{{- define "simyard.container" }}
  {{- $values := .values }}
  {{- $container := .object }}
  {{- if hasPrefix "robot-sim-" $container.image }}
    {{- $kind := $container.image | trimPrefix "robot-sim-" | splitList ":" | first }}
    {{- $_ := set $container "image" (include "simyard.image" (dict "image" (index $values.image $kind) "base" .object.image)) }}
    {{- with $values.image.pullPolicy }}{{ $_ := set $container "imagePullPolicy" . }}{{ end }}
  {{- end }}
  {{- with index $values.resources $container.name }}{{ $_ := set $container "resources" . }}{{ end }}
  {{- range $container.env }}
    {{- with dig "valueFrom" "secretKeyRef" nil . }}{{ $_ := set . "name" $values.existingSecret }}{{ end }}
  {{- end }}
{{- end }}

{{- define "simyard.workload" }}
  {{- $values := .values }}
  {{- $spec := .object.spec }}
  {{- $name := .object.metadata.name }}
  {{- $pod := $spec.template.spec }}
  {{- range concat ($pod.initContainers | default list) $pod.containers }}
    {{- include "simyard.container" (dict "object" . "values" $values) }}
  {{- end }}
  {{- with index $values.nodeSelector $name }}{{ $_ := set $pod "nodeSelector" . }}{{ end }}
  {{- with index $values.replicas $name }}{{ $_ := set $spec "replicas" . }}{{ end }}
  {{- range $claim := $spec.volumeClaimTemplates }}
    {{- $_ := set $claim.spec.resources.requests "storage" (index $values.storage $name) }}
    {{- with $values.storage.className }}{{ $_ := set $claim.spec "storageClassName" . }}{{ end }}
  {{- end }}
{{- end }}

{{- define "simyard.config" }}
  {{- $data := .object.data }}
  {{- $_ := set $data "RECORDER_IMAGE" (include "simyard.image" (dict "image" .values.image.worker "base" $data.RECORDER_IMAGE)) }}
  {{- with .values.ingress }}
    {{- if .enabled }}
      {{- $_ := set $data "TRUSTED_PROXIES" "1" }}
      {{- $_ := set $data "MINIO_PUBLIC_ENDPOINT" (printf "https://%s" .s3Host) }}
    {{- end }}
  {{- end }}
  {{- range $name, $value := .values.config }}{{ $_ := set $data $name (toString $value) }}{{ end }}
{{- end }}

{{- define "simyard.templates" }}
  {{- $file := index .object.data "diffdrive.json" }}
  {{- $base := regexFind "robot-sim-reference:[^\"]+" $file }}
  {{- $image := include "simyard.image" (dict "image" .values.image.reference "base" $base) }}
  {{- $_ := set .object.data "diffdrive.json" (replace $base $image $file) }}
{{- end }}

{{- define "simyard.ingress" }}
  {{- $spec := .object.spec }}
  {{- $host := ternary .values.ingress.s3Host .values.ingress.host (eq .object.metadata.name "minio") }}
  {{- $_ := set $spec "ingressClassName" .values.ingress.className }}
  {{- $_ := set (first $spec.rules) "host" $host }}
  {{- $_ := set (first $spec.tls) "hosts" (list $host) }}
  {{- $_ := set .object.metadata.annotations "cert-manager.io/cluster-issuer" .values.ingress.issuer }}
{{- end }}

{{- define "simyard.change" }}
  {{- $kind := .object.kind }}
  {{- $name := .object.metadata.name }}
  {{- if has $kind (list "Deployment" "StatefulSet") }}{{ include "simyard.workload" . }}{{ end }}
  {{- if eq $name "robot-config" }}{{ include "simyard.config" . }}{{ end }}
  {{- if eq $name "robot-templates" }}{{ include "simyard.templates" . }}{{ end }}
  {{- if eq $kind "Ingress" }}{{ include "simyard.ingress" . }}{{ end }}
  {{- if eq $kind "HorizontalPodAutoscaler" }}
    {{- $_ := mergeOverwrite .object.spec (index .values.autoscaling $name) }}
  {{- end }}
  {{- if and (eq $name "robot-backend-service") (ne .values.service.type "ClusterIP") }}
    {{- $_ := set .object.spec "type" .values.service.type }}
  {{- end }}
{{- end }}
