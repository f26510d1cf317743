"""What an OpenBao server is made of, as text: its configuration, its unit, the rotation of its audit logs."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from facts.openbao import CERTIFICATE, CONFIG, DATA_FOLDER, FOUNDING, SEAL_FOLDER, TRUST, UNIT, USER

FOUNDING_FOLDER = "/run/unterbau-openbao"
FOUNDING_UNIT = "unterbau-openbao-founding.service"
HEADER = "# Written by unterbau: what is changed here by hand is undone by the next apply.\n"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """One member of a cluster, as it should be."""

    node: str
    members: Mapping[str, str]  # {name: address} of all of them, this one too
    cluster_name: str
    port: int
    cluster_port: int
    binary: str
    audit_paths: Sequence[str]
    seal_keys: Sequence[str] = ()  # ids, the current one first, then the one before

    @property
    def audit_folders(self) -> list[str]:
        """The folders that it writes its audit logs in."""
        return sorted({posixpath.dirname(path) for path in self.audit_paths})

    @property
    def address(self) -> str:
        """Where this member listens."""
        return self.members[self.node]


def malformed(paths: Iterable[str]) -> str | None:
    """Why these paths cannot stand in a unit or a logrotate file, which know no quoting that would hold; else None."""
    odd = [path for path in paths if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path)]
    return f"found the path {odd[0]!r}; use letters, digits and '._-' in it" if odd else None


def key_file(key: str) -> str:
    """Where the seal key of this id lies; root's alone: systemd hands it to the process."""
    return f"{SEAL_FOLDER}/{key}.key"


def seal_keys_of(known: Sequence[str], config: str | None) -> list[str] | str:
    """Which keys a server needs: the newest, and the one that it was sealed with before; a sentence if that is lost.

    Not simply the newest two: the key may have been rotated more than once since the server was changed last.

    Args:
        known: ids, newest first.
        config: the server's configuration as it is now; None if it has none.
    """
    used = dict(re.findall(r'(current|previous)_key_id = "([^"]+)"', config or ""))
    in_use = used.get("current")
    if in_use is not None and in_use not in known:
        return f"found that it is sealed with {in_use}, and the store's newest are {', '.join(known)}"
    before = used.get("previous") if in_use == known[0] else in_use
    if before not in known:
        before = known[1] if len(known) > 1 else None
    return [known[0], *([before] if before else [])]


def server_hcl(server: Server, *, founding: bool = False) -> str:
    """The configuration; HCL, because JSON knows no audit stanza. While `founding` nobody else can reach or join it."""
    listen = LOOPBACK if founding else server.address
    others = {} if founding else {n: a for n, a in server.members.items() if n != server.node}
    return HEADER + "\n".join(
        [
            f"cluster_name = {json.dumps(server.cluster_name)}",
            f'api_addr     = "https://{server.address}:{server.port}"',
            f'cluster_addr = "https://{server.address}:{server.cluster_port}"',
            "",
            'listener "tcp" {',
            f'  address         = "{listen}:{server.port}"',
            f'  cluster_address = "{listen}:{server.cluster_port}"',
            f'  tls_cert_file   = "{CERTIFICATE}"',
            f'  tls_key_file    = "{CERTIFICATE}"',
            '  tls_min_version = "tls13"',
            "}",
            "",
            'storage "raft" {',
            f'  path    = "{DATA_FOLDER}"',
            f"  node_id = {json.dumps(server.node)}",
            "  # A leader that stood still for 1.5 s leads on; one that is gone is missed in 5 to 10 s.",
            "  performance_multiplier = 3",
            *(_retry_join(address, server.port) for address in others.values()),
            "}",
            "",
            *_seal(server.seal_keys, FOUNDING_UNIT if founding else UNIT),
            *(_audit(number, path) for number, path in enumerate(server.audit_paths, start=1)),
            "",
        ]
    )


def _retry_join(address: str, port: int) -> str:
    return (
        f'  retry_join {{\n    leader_api_addr     = "https://{address}:{port}"\n'
        f'    leader_ca_cert_file = "{TRUST}"\n  }}'
    )


def _seal(keys: Sequence[str], unit: str) -> list[str]:
    """The key that is in use and the one before: data that was sealed with that one can still be opened."""
    lines = ['seal "static" {']
    for which, key in zip(("current", "previous"), keys, strict=False):
        lines.append(f"  {which}_key_id = {json.dumps(key)}")
        lines.append(f'  {which}_key    = "file:///run/credentials/{unit}/{key}"')
    return [*lines, "}", ""]


def _audit(number: int, path: str) -> str:
    """The same on all members: another path would keep a follower from ever becoming the leader."""
    return f'audit "file" "audit-{number}" {{\n  options = {{\n    file_path = {json.dumps(path)}\n  }}\n}}'


def unit_text(server: Server) -> str:
    """The service's unit."""
    start = f"{server.binary} server -config={CONFIG}"
    return HEADER + "\n".join(
        [
            "[Unit]",
            "Description=OpenBao",
            "Wants=network-online.target",
            "After=network-online.target",
            f"RequiresMountsFor={' '.join(server.audit_folders)}",
            f"ConditionPathExists=!{FOUNDING}",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            *_service(server, start),
            "Restart=on-failure",
            "RestartSec=2",
            "ExecReload=/bin/kill -s HUP $MAINPID",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def founding_unit_text(server: Server) -> str:
    """The unit that initialises: it has started only when all of the initialisation is done. Source: server.go."""
    config = " ".join(f"-config={FOUNDING_FOLDER}/{name}" for name in ("server.hcl", "initialize.json"))
    return "\n".join(
        [
            "[Unit]",
            "Description=First start of OpenBao",
            f"Conflicts={UNIT}",
            "",
            "[Service]",
            *_service(server, f"{server.binary} server {config}"),
            "TimeoutStartSec=90",
            "",
        ]
    )


def _service(server: Server, start: str) -> list[str]:
    """What both units have. It can write its data and its audit logs, and nothing else."""
    writable = " ".join([DATA_FOLDER, *server.audit_folders])
    return [
        "Type=notify",
        f"User={USER}",
        f"Group={USER}",
        f"ExecStart={start}",
        *(f"LoadCredential={key}:{key_file(key)}" for key in server.seal_keys),
        f"ReadWritePaths={writable}",
        "UnsetEnvironment=http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY",
        *HARDENING,
    ]


# Source: systemd.exec(5), OpenBao's production hardening. No MemoryDenyWriteExecute=no, no capability: nothing of it
# is needed above port 1024. There is no swap and no core dump to leak into.
HARDENING = (
    "UMask=0077",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateIPC=yes",
    "PrivateUsers=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "KeyringMode=private",
    "LimitCORE=0",
    "LimitNOFILE=65536",
    "MemorySwapMax=0",
)


def initialize_json(policy: str, deployers: str) -> str:
    """What the first start does before anything else can reach it: deploys can log in, and nobody else.

    Its root token never leaves the process and is revoked by it. A recovery key is made and forgotten: without one
    OpenBao never seals its root key anew when the seal's key changes. Source: seal_autoseal.go, UpgradeKeys.

    Args:
        policy: the text of the policy `deploy`.
        deployers: the certificate (PEM) of the authority that signs a run's login.
    """
    role = {
        "certificate": deployers,
        "allowed_common_names": ["unterbau-deploy"],
        "token_policies": ["deploy"],
        "token_type": "service",
        "token_ttl": "15m",
    }
    requests = {
        "recovery": ("sys/rotate/recovery/init", {"secret_shares": 1, "secret_threshold": 1}),
        "policy": ("sys/policies/acl/deploy", {"policy": policy}),
        "auth": ("sys/auth/deploy", {"type": "cert", "description": "runs of unterbau"}),
        "role": ("auth/deploy/certs/deploy", role),
    }
    stanza = [{name: {"operation": "update", "path": path, "data": data}} for name, (path, data) in requests.items()]
    return json.dumps({"initialize": [{"deploy": {"request": stanza}}]}, indent=1) + "\n"
