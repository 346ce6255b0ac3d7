{{- /* Helpers take a list: the release's facts, then keys of .Values.stages. */}}

{{- define "clara.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | toJson }}
app.kubernetes.io/name: {{ .Chart.Name | toJson }}
app.kubernetes.io/instance: {{ .Release.Name | toJson }}
app.kubernetes.io/managed-by: {{ .Release.Service | toJson }}
app.kubernetes.io/part-of: clara-argo
{{- end }}

{{- /* As `docker pull` reads a name: the registry goes before one whose first part is no host. */}}
{{- define "clara.image" -}}
{{- $values := (index . 0).Values -}}
{{- $image := (index $values.stages (index . 1)).image -}}
{{- $whole := $image.repository -}}
{{- if $image.digest }}{{ $whole = printf "%s@%s" $whole $image.digest }}
{{- else if $image.tag }}{{ $whole = printf "%s:%s" $whole $image.tag }}{{ end -}}
{{- $parts := splitList "/" $image.repository -}}
{{- $host := and (gt (len $parts) 1) (or (regexMatch "[.:]" (first $parts)) (eq (first $parts) "localhost")) -}}
{{- if and $values.registry (not $host) }}{{ $whole = printf "%s/%s" (regexReplaceAll "/+$" $values.registry "") $whole }}{{ end -}}
{{- toJson $whole -}}
{{- end }}

{{- define "clara.pullSecrets" -}}
{{- $made := list -}}
{{- range .Values.pullSecrets }}{{ $made = append $made (dict "name" .) }}{{ end -}}
{{- if $made }}{{ toJson $made }}{{ end -}}
{{- end }}

{{- /* GPUs are a limit, which is also what is asked for. */}}
{{- define "clara.resources" -}}
{{- $values := (index . 0).Values -}}
{{- $stage := index $values.stages (index . 1) -}}
{{- $made := deepCopy (default (dict) $stage.resources) -}}
{{- if gt (int $stage.gpu) 0 -}}
{{- $_ := set $made "limits" (set (default (dict) $made.limits) $values.gpu.resource (toString (int $stage.gpu))) -}}
{{- end -}}
{{- range $name := list "requests" "limits" }}{{ if not (index $made $name) }}{{ $_ := unset $made $name }}{{ end }}{{ end -}}
{{- if $made }}{{ toJson $made }}{{ end -}}
{{- end }}

{{- define "clara.gpus" -}}
{{- $stages := (index . 0).Values.stages -}}
{{- $sum := 0 -}}
{{- range $key := rest . }}{{ $sum = add $sum (int (index $stages $key).gpu) }}{{ end -}}
{{- $sum -}}
{{- end }}

{{- define "clara.nodeSelector" -}}
{{- $values := (index . 0).Values -}}
{{- $made := deepCopy (default (dict) $values.nodeSelector) -}}
{{- if ne (include "clara.gpus" .) "0" }}{{ $made = mergeOverwrite $made (deepCopy (default (dict) $values.gpu.nodeSelector)) }}{{ end -}}
{{- range $key := rest . }}{{ $made = mergeOverwrite $made (deepCopy (default (dict) (index $values.stages $key).nodeSelector)) }}{{ end -}}
{{- if $made }}{{ toJson $made }}{{ end -}}
{{- end }}

{{- /* GPU nodes are commonly tainted with the name of the resource. */}}
{{- define "clara.tolerations" -}}
{{- $values := (index . 0).Values -}}
{{- $made := default (list) $values.tolerations -}}
{{- range $key := rest . }}{{ $made = concat $made (default (list) (index $values.stages $key).tolerations) }}{{ end -}}
{{- if ne (include "clara.gpus" .) "0" }}{{ $made = append $made (dict "key" $values.gpu.resource "operator" "Exists" "effect" "NoSchedule") }}{{ end -}}
{{- if $made }}{{ toJson (uniq $made) }}{{ end -}}
{{- end }}

{{- /* Seconds of one attempt. */}}
{{- define "clara.timeouts" -}}
{{- $stages := (index . 0).Values.stages -}}
{{- $sum := 0 -}}
{{- range $key := rest . }}{{ $sum = add $sum (int64 (index $stages $key).timeout) }}{{ end -}}
{{- $sum -}}
{{- end }}

{{- /* Of one pod: the most that one of its stages asks for. */}}
{{- define "clara.retries" -}}
{{- $stages := (index . 0).Values.stages -}}
{{- $most := 0 -}}
{{- range $key := rest . }}{{ $most = max $most (int64 (index $stages $key).retries) }}{{ end -}}
{{- $most -}}
{{- end }}

{{- define "clara.longest" -}}
{{- $times := include "clara.retries" . | int64 -}}
{{- add (mul (include "clara.timeouts" . | int64) (add 1 $times)) (include "clara.pauses" $times | int64) -}}
{{- end }}

{{- define "clara.podMetadata" -}}
{{- if .Values.networkPolicy.create }}{{ dict "labels" (dict "clara.dev/workflow" (index .Chart.Annotations "clara.dev/label")) | toJson }}{{ end -}}
{{- end }}

{{- define "clara.limits" -}}
{{- printf "%s-jobs" (index .Chart.Annotations "clara.dev/template") | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "clara.synchronization" -}}
{{- if gt (int .Values.semaphore.jobs) 0 -}}
{{- dict "semaphores" (list (dict "configMapKeyRef" (dict "name" (include "clara.limits" .) "key" "jobs"))) | toJson -}}
{{- end -}}
{{- end }}

{{- define "clara.routeName" -}}
{{- printf "%s-route" (.Release.Name | trunc 57 | trimSuffix "-") -}}
{{- end }}
