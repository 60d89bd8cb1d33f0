{{- define "seodang.labels" -}}
app.kubernetes.io/name: seodang
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "seodang.metadataLabels" -}}
{{ include "seodang.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "seodang.image" -}}
image: {{ printf "%s:%s" .Values.image.name .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "seodang.pull" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What every pod of ours is, but for those that start sandboxes. The ids are the project's own. */}}
{{- define "seodang.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "seodang.pull" . }}
{{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 190001
  runAsGroup: 190000
  fsGroup: 190000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "seodang.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "seodang.environment" -}}
- {name: LMS_DATA, value: /data}
- {name: LMS_URL, value: {{ .Values.lms.url | quote }}}
- {name: HUB_URL, value: {{ .Values.hub.url | quote }}}
- {name: LMS_HUB_INNER_URL, value: {{ .Values.hub.innerUrl | quote }}}
- {name: HOME, value: /tmp}
- {name: PYTHONUNBUFFERED, value: "1"}
- name: LMS_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.database }}, key: url}}
{{- end }}

{{/* Keys as one folder, of which each pod gets what it needs: a list of [folder, secret]. */}}
{{- define "seodang.keys" -}}
- name: keys
  projected:
    defaultMode: 288
    sources:
      {{- range .sources }}
      - secret:
          name: {{ .secret }}
          items:
            {{- $folder := .folder }}
            {{- range .files }}
            - {key: {{ . }}, path: {{ $folder }}/{{ . }}}
            {{- end }}
      {{- end }}
{{- end }}

{{/* Folders on the volume, made as the user that the pods run as. */}}
{{- define "seodang.folders" -}}
initContainers:
  - name: folders
    {{- include "seodang.image" . | nindent 4 }}
    args: [mkdir, -p, /data/blobs, /data/environments, /data/keys, /data/run]
    resources:
      requests: {cpu: 10m, memory: 32Mi}
      limits: {memory: 128Mi}
    {{- include "seodang.container" . | nindent 4 }}
    volumeMounts:
      - {name: data, mountPath: /data}
{{- end }}

{{- define "seodang.claim" -}}
{{ .Values.storage.existingClaim | default (printf "%s-data" .Release.Name) }}
{{- end }}

{{/* What the schema cannot say: two host names, or what keeps notebooks from the pages is gone. */}}
{{- define "seodang.check" -}}
{{- if eq .Values.image.tag "latest" -}}
{{- fail "image.tag is latest; name a version, or pods of one release run different programs." -}}
{{- end -}}
{{- $lms := (urlParse .Values.lms.url).hostname -}}
{{- $hub := (urlParse .Values.hub.url).hostname -}}
{{- if eq $lms $hub -}}
{{- fail (printf "lms.url and hub.url are both on %s; they need two host names, because cookies ignore ports." $lms) -}}
{{- end -}}
{{- end }}
