"""The keys of Zero to JupyterHub's values that ours use, and what each may be, listed by hand.

Its chart cannot be had where these tests run. Keys and kinds are those of its own values schema
(chart 4), which was read for this; each also stands in the "Configuration Reference" of z2jh's
documentation, in the section that is named here. A `*` is a name of our own choosing.
"""

#: What a value may be: of a type, or one of some words.
Kind = type | tuple[str, ...]

KEYS: dict[str, Kind] = {
    # Configuration Reference, "hub"
    "hub.image.name": str,
    "hub.image.tag": str,
    "hub.allowNamedServers": bool,
    "hub.extraEnv.*": str,
    "hub.extraVolumes": list,
    "hub.extraVolumeMounts": list,
    # "hub.extraFiles" tells of mountPath, data, stringData, binaryData and mode.
    "hub.extraFiles.*.mountPath": str,
    "hub.extraFiles.*.stringData": str,
    "hub.resources.*.*": str,
    # "hub.networkPolicy"; "Kubernetes Network Policies" of the Security page.
    "hub.networkPolicy.enabled": bool,
    "hub.networkPolicy.interNamespaceAccessLabels": ("accept", "ignore"),
    # Configuration Reference, "proxy"
    "proxy.service.type": ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    "proxy.https.enabled": bool,
    "proxy.chp.resources.*.*": str,
    "proxy.chp.networkPolicy.enabled": bool,
    # Configuration Reference, "singleuser"
    "singleuser.image.name": str,
    "singleuser.image.tag": str,
    "singleuser.image.pullPolicy": ("", "IfNotPresent", "Always", "Never"),
    "singleuser.cmd": str,
    "singleuser.defaultUrl": str,
    "singleuser.startTimeout": int,
    "singleuser.storage.type": ("dynamic", "static", "none"),
    "singleuser.storage.capacity": str,
    "singleuser.storage.homeMountPath": str,
    "singleuser.allowPrivilegeEscalation": bool,
    # "Block cloud metadata API" of the Security page.
    "singleuser.cloudMetadata.blockWithIptables": bool,
    "singleuser.networkPolicy.enabled": bool,
    "singleuser.networkPolicy.egress": list,
    "singleuser.networkPolicy.egressAllowRules.cloudMetadataServer": bool,
    "singleuser.networkPolicy.egressAllowRules.privateIPs": bool,
    # "Culling user pods" of the page on user management.
    "cull.enabled": bool,
    "cull.users": bool,
    "cull.timeout": int,
    "cull.every": int,
    # "Pulling images before users arrive" of the page on optimizations.
    "prePuller.hook.enabled": bool,
    "prePuller.continuous.enabled": bool,
    # Configuration Reference, "ingress"
    "ingress.enabled": bool,
}
