"""How a K3s node is hardened beyond what it does by itself: audit log, Pod Security, limits, ciphers, orderly shutdown.

Source: K3s docs, security/hardening-guide; CIS Kubernetes Benchmark.
"""

from __future__ import annotations

import json

from facts.k3s import DATA, FOLDER

HEADER = "# Written by unterbau: what is changed here by hand is undone by the next apply.\n"
AUDIT_POLICY, ADMISSION = f"{FOLDER}/audit-policy.yaml", f"{FOLDER}/admission.yaml"
AUDIT_LOG = f"{DATA}/server/logs/audit.log"
# The kubelet takes files of this folder in the order of their names, K3s' own first. Source: K3s docs, installation,
# configuration, kubelet.
KUBELET_CONFIG = f"{DATA}/agent/etc/kubelet.conf.d/10-unterbau.conf"
# Forward secrecy and authenticated encryption only. Source: K3s hardening guide, CIS 1.2.29 and 4.2.12.
CIPHERS = ",".join(
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for cipher in ("AES_256_GCM_SHA384", "AES_128_GCM_SHA256", "CHACHA20_POLY1305")
    for key in ("ECDSA", "RSA")
)


def apiserver_arguments() -> list[str]:
    """More arguments of kube-apiserver. Source: CIS 1.2."""
    return [
        "anonymous-auth=false",
        "enable-admission-plugins=NodeRestriction,EventRateLimit",
        f"admission-control-config-file={ADMISSION}",
        f"audit-policy-file={AUDIT_POLICY}",
        f"audit-log-path={AUDIT_LOG}",
        "audit-log-maxage=30",
        "audit-log-maxbackup=10",
        "audit-log-maxsize=100",
        "service-account-extend-token-expiration=false",
        f"tls-cipher-suites={CIPHERS}",
    ]


def audit_policy() -> str:
    """Who did what, without what was said: secrets and tokens are never in it. Source: CIS 3.2.2; Kubernetes, auditing.

    Reads of what is asked for all day are left out: they would be most of it.
    """
    quiet = ["get", "list", "watch"]
    rules = [
        {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"]},
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
        {"level": "None", "verbs": quiet, "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "None", "resources": [{"group": "", "resources": ["events"]}, {"group": "events.k8s.io"}]},
        {"level": "Metadata"},
    ]
    return _yaml({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules})


def admission() -> str:
    """Pods are `restricted` unless their namespace says otherwise, and nobody floods the API with events.

    Source: K3s hardening guide, CIS 1.2.9 and 5.2; Kubernetes, Pod Security admission.
    """
    security = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {
            f"{mode}{suffix}": value
            for mode in ("enforce", "audit", "warn")
            for suffix, value in (("", "restricted"), ("-version", "latest"))
        },
        "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
    }
    events = {
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
        "kind": "Configuration",
        "limits": [{"type": "Server", "qps": 5000, "burst": 20000}],
    }
    plugins = [
        {"name": "PodSecurity", "configuration": security},
        {"name": "EventRateLimit", "configuration": events},
    ]
    text = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
    return _yaml(text)


def kubelet_config() -> str:
    """Pods end before the rest of a machine that goes down: one that leaves SIGTERM alone held up systemd for 90 s.

    Not more than 30 s: so long does logind wait where unattended-upgrades is installed, and a kubelet that wants more
    watches over no shutdown at all. Source: Kubernetes, node shutdowns; unattended-upgrades, logind-maxdelay.conf.
    """
    values = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "shutdownGracePeriod": "20s",
        "shutdownGracePeriodCriticalPods": "5s",
    }
    return _yaml(values)


def _yaml(value: object) -> str:
    return HEADER + json.dumps(value, indent=2) + "\n"
