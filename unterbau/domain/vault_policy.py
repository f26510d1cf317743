"""Vault policies as structured data, their HCL text, and what the platform's own deploys may do.

Sources: OpenBao documentation, "Policies" (path priority, `+`, allowed_parameters, wrapping TTLs).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CAPABILITIES = ("create", "read", "update", "patch", "delete", "list", "scan", "sudo", "deny")


@dataclass(frozen=True)
class PathRule:
    """What one path allows. `parameters`: only these may be sent; `wrapped_s`: answers come wrapped, this long."""

    capabilities: Sequence[str]
    parameters: Sequence[str] = ()
    wrapped_s: tuple[int, int] | None = None


def render(paths: Mapping[str, PathRule | Sequence[str]]) -> str:
    """The policy's HCL, paths and capabilities in a fixed order; two equal declarations give one text."""
    return "\n".join(_stanza(path, _as_rule(paths[path])) for path in sorted(paths))


def normalised(hcl: str) -> str:
    """The text to compare by: without blank lines and spaces at the ends of lines."""
    return "".join(f"{line.rstrip()}\n" for line in hcl.splitlines() if line.strip())


def _as_rule(rule: PathRule | Sequence[str]) -> PathRule:
    return rule if isinstance(rule, PathRule) else PathRule(rule)


def _stanza(path: str, rule: PathRule) -> str:
    return f"path {json.dumps(path)} {{\n" + "".join(f"  {line}\n" for line in _lines(rule)) + "}\n"


def _lines(rule: PathRule) -> Iterator[str]:
    ordered = sorted(rule.capabilities, key=CAPABILITIES.index)
    yield f"capabilities = {json.dumps(ordered)}"
    if rule.parameters:
        allowed = ", ".join(f"{json.dumps(name)} = []" for name in sorted(rule.parameters))
        yield f"allowed_parameters = {{ {allowed} }}"
    if rule.wrapped_s:
        least, most = rule.wrapped_s
        yield f'min_wrapping_ttl = "{least}s"'
        yield f'max_wrapping_ttl = "{most}s"'


_ALL = ("create", "read", "update", "delete")

# `+` stands for one segment, so a mount that is declared later needs no new policy. Nothing here reads a value: no
# `read` on KV data, on database credentials, on an unwrapped secret id.
DEPLOY: Mapping[str, PathRule | Sequence[str]] = {
    "auth/token/lookup-self": ("read",),
    "auth/token/revoke-self": ("update",),
    # What the cluster is and who votes
    "sys/audit": ("read", "sudo"),
    "sys/storage/raft/configuration": ("read",),
    "sys/storage/raft/autopilot/state": ("read",),
    "sys/storage/raft/autopilot/configuration": ("read", "create", "update"),
    "sys/storage/raft/snapshot": ("read", "create", "update"),
    "sys/storage/raft/snapshot-force": ("create", "update"),
    # Objects that the data declare, and their own policy, whose drift is named and corrected
    "sys/policies/acl": ("list",),
    "sys/policies/acl/+": _ALL,
    "sys/mounts": ("read",),
    "sys/mounts/*": _ALL,
    "sys/auth": ("read",),
    "sys/auth/approle": (*_ALL, "sudo"),
    "sys/auth/kubernetes": (*_ALL, "sudo"),
    "sys/auth/nodes": (*_ALL, "sudo"),
    "auth/approle/role": ("list",),
    "auth/approle/role/+": _ALL,
    "auth/approle/role/+/role-id": ("read",),
    "auth/approle/role/+/secret-id": PathRule(("create", "update"), wrapped_s=(1, 3600)),
    "auth/kubernetes/config": ("create", "read", "update"),
    "auth/kubernetes/role": ("list",),
    "auth/kubernetes/role/+": _ALL,
    "auth/nodes/certs/+": _ALL,
    "auth/deploy/certs/deploy": PathRule(("read", "update"), parameters=("certificate",)),
    # KV v2: values are written, never read; metadata are ours to read
    "+/data/*": ("create", "update"),
    "+/metadata/*": (*_ALL, "list"),
    # Marks of ownership: metadata only
    "unterbau/data/*": ("deny",),
    # The database engine: configured, never asked for credentials
    "+/config": ("list",),
    "+/config/+": _ALL,
    "+/roles": ("list",),
    "+/roles/+": _ALL,
    "+/static-roles": ("list",),
    "+/static-roles/+": _ALL,
    "+/rotate-role/+": ("create", "update"),
    "+/reset/+": ("create", "update"),
    "sys/leases/revoke-prefix/*": ("create", "update", "sudo"),
}

# What a server may do when it logs in with its own certificate: save all that there is, sealed.
SNAPSHOT: Mapping[str, PathRule | Sequence[str]] = {"sys/storage/raft/snapshot": ("read",)}
