{{- define "clara.image" -}}
{{- $image := .Values.image -}}
{{- $whole := $image.repository -}}
{{- if $image.digest }}{{ $whole = printf "%s@%s" $whole $image.digest }}
{{- else if $image.tag }}{{ $whole = printf "%s:%s" $whole $image.tag }}{{ end -}}
{{- $parts := splitList "/" $image.repository -}}
{{- $host := and (gt (len $parts) 1) (or (regexMatch "[.:]" (first $parts)) (eq (first $parts) "localhost")) -}}
{{- if and .Values.registry (not $host) }}{{ $whole = printf "%s/%s" (regexReplaceAll "/+$" .Values.registry "") $whole }}{{ end -}}
{{- toJson $whole -}}
{{- end }}

{{- define "clara.pullSecrets" -}}
{{- $made := list -}}
{{- range .Values.pullSecrets }}{{ $made = append $made (dict "name" .) }}{{ end -}}
{{- if $made }}{{ toJson $made }}{{ end -}}
{{- end }}

{{- define "clara.nodeSelector" -}}{{ with .Values.nodeSelector }}{{ toJson . }}{{ end }}{{- end }}
{{- define "clara.tolerations" -}}{{ with .Values.tolerations }}{{ toJson . }}{{ end }}{{- end }}
{{- define "clara.storageClass" -}}{{ with .Values.volume.storageClass }}{{ toJson . }}{{ end }}{{- end }}
{{- define "clara.serviceAnnotations" -}}{{ with .Values.service.annotations }}{{ toJson . }}{{ end }}{{- end }}
{{- define "clara.region" -}}{{ with .Values.store.region }}{{ toJson . }}{{ end }}{{- end }}
{{- define "clara.regionVariable" -}}
{{- with .Values.store.region }}{{ dict "name" "CLARA_S3_REGION" "value" . | toJson }}{{ end -}}
{{- end }}
{{- define "clara.nodePort" -}}
{{- if ne .Values.service.type "ClusterIP" }}{{ with int .Values.service.nodePort }}{{ . }}{{ end }}{{ end -}}
{{- end }}

{{- /* Who has signed the store's certificate: for Argo a Secret, for the adapter also a file. */}}
{{- define "clara.authority" -}}
{{- with .Values.store.authority }}{{ if .secret }}{{ dict "name" .secret "key" .key | toJson }}{{ end }}{{ end -}}
{{- end }}
{{- define "clara.authorityVolume" -}}
{{- with .Values.store.authority }}{{ if .secret }}{{ dict "name" "authority" "secret" (dict "secretName" .secret) | toJson }}{{ end }}{{ end -}}
{{- end }}
{{- define "clara.authorityMount" -}}
{{- if .Values.store.authority.secret }}{{ dict "name" "authority" "mountPath" "/etc/clara-authority" "readOnly" true | toJson }}{{ end -}}
{{- end }}
{{- define "clara.authorityVariable" -}}
{{- with .Values.store.authority }}{{ if .secret }}{{ dict "name" "SSL_CERT_FILE" "value" (printf "/etc/clara-authority/%s" .key) | toJson }}{{ end }}{{ end -}}
{{- end }}

{{- /* The adapter asks for the sender's own address; a service inside the cluster has no policy for that. */}}
{{- define "clara.trafficPolicy" -}}{{ if ne .Values.service.type "ClusterIP" }}Local{{ end }}{{- end }}

{{- define "clara.addresses" -}}
{{- $made := list -}}
{{- range .Values.addresses }}{{ $made = append $made (dict "ipBlock" (dict "cidr" .)) }}{{ end -}}
{{- toJson $made -}}
{{- end }}

{{- /* Behind the colon of the endpoint, or the usual one. */}}
{{- define "clara.storePort" -}}
{{- $said := regexFind ":[0-9]+$" .Values.store.endpoint | trimPrefix ":" -}}
{{- $said | default (ternary "443" "80" .Values.store.secure) -}}
{{- end }}

{{- /* A list: the release's facts, then ports of the manifests. */}}
{{- define "clara.ports" -}}
{{- $made := list -}}
{{- range concat (rest .) (index . 0).Values.adapter.ports }}{{ $made = append $made (dict "protocol" "TCP" "port" (int .)) }}{{ end -}}
{{- toJson $made -}}
{{- end }}

{{- /* The adapter's file, and each route in a folder of its own beside it; a route that is not there is left out. */}}
{{- define "clara.configuration" -}}
{{- $own := dict "configMap" (dict "name" "clara-adapter") -}}
{{- if not .Values.routes }}{{ merge (dict "name" "configuration") $own | toJson }}
{{- else -}}
{{- if not (contains "include" (lower .Values.adapter.configuration)) }}{{ fail "adapter.configuration reads none of the routes: add the line 'include: [routes/*/route.yaml]' to it" }}{{ end -}}
{{- $sources := list $own -}}
{{- range $route := .Values.routes -}}
{{- $items := list -}}
{{- range $key, $path := $route.files }}{{ $items = append $items (dict "key" $key "path" (printf "routes/%s/%s" $route.configMap $path)) }}{{ end -}}
{{- $sources = append $sources (dict "configMap" (dict "name" $route.configMap "optional" true "items" $items)) -}}
{{- end -}}
{{- dict "name" "configuration" "projected" (dict "sources" $sources) | toJson -}}
{{- end -}}
{{- end }}
