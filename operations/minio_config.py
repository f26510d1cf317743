"""What a MinIO server is made of, as text: its layout, its environment, its unit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from facts.minio import CERTIFICATE, CREDENTIALS, ENVIRONMENT, KMS_KEY, LAYOUT, ROOT_PASSWORD, TRUST, USER
from facts.minio_drive import folder_of
from unterbau.domain import erasure

HEADER = "# Written by unterbau: what is changed here by hand is undone by the next apply.\n"
KEY_NAME = "unterbau"
RUNTIME = "/run/minio"
CERTS = f"{RUNTIME}/certs"
HEAL_BITROT_MONTHS = 1


@dataclass(frozen=True)
class Pool:
    """Nodes with drives at the same mount points."""

    nodes: list[str]
    mounts: list[str]
    drives_per_set: int | None = None

    @property
    def erasure(self) -> erasure.Pool:
        """The same as the rules of erasure coding want it."""
        return erasure.Pool(tuple(self.nodes), len(self.mounts), self.drives_per_set)

    @property
    def endpoints(self) -> list[tuple[str, str]]:
        """(node, mount point) of every drive, as sets are cut from them: the first of every node, then the second …"""
        return [(node, mount) for mount in self.mounts for node in self.nodes]


@dataclass(frozen=True)
class Server:
    """One member of a cluster, as it should be."""

    node: str
    members: Mapping[str, str]  # {name: address} of all of them, this one too
    pools: list[Pool]
    parity: int
    survives: int  # nodes, as it was promised
    port: int
    binary: str
    access_key: str

    @property
    def address(self) -> str:
        """Where this member listens."""
        return self.members[self.node]

    @property
    def mounts(self) -> list[str]:
        """The mount points of this member's drives."""
        return [mount for pool in self.pools if self.node in pool.nodes for mount in pool.mounts]


def malformed(server: Server) -> str | None:
    """Why this cannot stand in a unit or a layout, which know no quoting that would hold; else None."""
    paths = [server.binary, *(mount for pool in server.pools for mount in pool.mounts)]
    odd = [path for path in paths if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path)]
    odd += [name for name in server.members if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)]
    odd += [key for key in (server.access_key,) if not re.fullmatch(r"[A-Za-z0-9._-]{3,20}", key)]
    return f"found {odd[0]!r}; use letters, digits and '._-' in it" if odd else None


def layout_yaml(server: Server) -> str:
    """The pools, in the words of `minio server --config`: every drive by name, and the size of sets said out loud."""
    pools = [
        {
            "args": [f"https://{node}:{server.port}{folder_of(mount)}" for node, mount in pool.endpoints],
            "set-drive-count": erasure.set_size(pool.erasure),
        }
        for pool in server.pools
    ]
    said: str = yaml.safe_dump({"version": "v2", "pools": pools}, sort_keys=False, width=120)
    return HEADER + said


def pools_of(layout: str) -> list[Any] | None:
    """The pools of a layout as they stand there; None if it is none."""
    try:
        said = yaml.safe_load(layout)
        return list(said["pools"])
    except (yaml.YAMLError, TypeError, KeyError):
        return None


def environment(server: Server) -> str:
    """The same on all members, and nothing that is secret: names of files only."""
    values = {
        # Without a browser there is no console, and no second port.
        "MINIO_BROWSER": "off",
        # A call on a connection that was open when its peer lost power waits so long, not 30 s.
        "MINIO_DRIVE_MAX_TIMEOUT": "10s",
        # What a GET does not meet is read once a month and compared with its checksums.
        "MINIO_HEAL_BITROTSCAN": f"{HEAL_BITROT_MONTHS}m",
        "MINIO_KMS_SECRET_KEY_FILE": f"{CREDENTIALS}/{_name(KMS_KEY)}",
        # Health of sets without a login, for gates. A token for them would be signed with the root credential.
        "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        "MINIO_ROOT_PASSWORD_FILE": f"{CREDENTIALS}/{_name(ROOT_PASSWORD)}",
        "MINIO_ROOT_USER": server.access_key,
        # Small objects in files of their own: a wrong byte of one beside its metadata had 1 of 10 reads refused.
        "MINIO_STORAGE_CLASS_INLINE_BLOCK": "1",
        # Also for whoever asks for less: by itself REDUCED_REDUNDANCY is EC:1, which survives one drive.
        "MINIO_STORAGE_CLASS_RRS": f"EC:{server.parity}",
        "MINIO_STORAGE_CLASS_STANDARD": f"EC:{server.parity}",
        "MINIO_UPDATE": "off",
    }
    return HEADER + "".join(f"{name}={value}\n" for name, value in sorted(values.items()))


def environment_digest(server: Server) -> str:
    """What a server that was started with it says of itself; see `facts.minio.Process`."""
    lines = [line for line in environment(server).splitlines(keepends=True) if line.startswith("MINIO_")]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def unit_text(server: Server) -> str:
    """The service's unit."""
    listen = f"[{server.address}]" if ":" in server.address else server.address
    return HEADER + "\n".join(
        [
            "[Unit]",
            "Description=MinIO",
            "Wants=network-online.target",
            "After=network-online.target",
            f"RequiresMountsFor={' '.join(server.mounts)}",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",  # ready when it has a quorum: a node that is alone waits for the others
            "TimeoutStartSec=infinity",
            "TimeoutStopSec=150",  # it takes up to a minute to write down what it still has to heal
            f"User={USER}",
            f"Group={USER}",
            f"ExecStartPre=/bin/sh -c {_certificates()}",
            f"ExecStart={server.binary} server --config {CREDENTIALS}/{_name(LAYOUT)}"
            f" --address {listen}:{server.port} --certs-dir {CERTS}"
            " --dns-cache-ttl 30s --conn-user-timeout 20s --quiet",
            f"ExecReload=/bin/sh -c {_certificates()}",
            "ExecReload=/bin/kill -s HUP $MAINPID",
            "Restart=on-failure",
            "RestartSec=2",
            *(f"LoadCredential={_name(path)}:{path}" for path in (LAYOUT, ROOT_PASSWORD, KMS_KEY)),
            f"EnvironmentFile={ENVIRONMENT}",
            f"Environment=HOME={RUNTIME}",
            "UnsetEnvironment=http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY",
            "RuntimeDirectory=minio",
            "RuntimeDirectoryMode=0700",
            f"ReadWritePaths={' '.join(server.mounts)}",
            *HARDENING,
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _certificates() -> str:
    """Shell text: the service's file has key and certificate in one, and MinIO wants two. Both are gone when it stops.

    Source: MinIO, internal/config/certs.go ("The private key contains additional data").
    """
    commands = [
        "set -e",
        f"mkdir -p {CERTS}/CAs",
        f"ln -sfn {TRUST} {CERTS}/CAs/unterbau.pem",
        f'sed -n "/BEGIN CERTIFICATE/,/END CERTIFICATE/p" {CERTIFICATE} > {RUNTIME}/public.crt',
        f'sed -n "/BEGIN .*PRIVATE KEY/,/END .*PRIVATE KEY/p" {CERTIFICATE} > {RUNTIME}/private.key',
        f"mv {RUNTIME}/private.key {RUNTIME}/public.crt {CERTS}/",
    ]
    return f"'{'; '.join(commands)}'"


# Source: systemd.exec(5). As OpenBao's, but it asks for its interfaces (netlink), for the machine's memory (/proc), and
# keeps thousands of files open.
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
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
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
    "LimitNOFILE=1048576",
    "TasksMax=infinity",
    "MemorySwapMax=0",
)
