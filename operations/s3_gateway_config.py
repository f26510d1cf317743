"""What the S3 gateway is made of, as text: HAProxy's configuration and what we add to Debian's unit.

Why each setting is as it is: docs/adr/0011-s3-gateway.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from xml.sax.saxutils import escape

from facts.certificate import BUNDLE
from facts.s3_gateway import BACKEND, CONFIG, LEAF, RUNTIME_FOLDER, SOCKET, STATS_SOCKET, USER

HEADER = "# Written by unterbau: what is changed here by hand is undone by the next apply.\n"
LOOPBACK = "127.0.0.1"
HEALTH = ("/minio/health/live", "/minio/health/ready", "/minio/health/cluster", "/minio/health/cluster/read")
STATE_PATH = "/-/member"  # no bucket can be called so
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"  # CVE-2026-40344

# {status: (S3 error code, message)} of what HAProxy itself answers with.
ERRORS = {
    400: ("BadRequest", "The S3 gateway cannot read this request."),
    403: ("AccessDenied", "The S3 gateway refuses this request."),
    408: ("RequestTimeout", "The request's headers did not arrive in time."),
    500: ("InternalError", "The S3 gateway met an internal error; try again."),
    502: ("InternalError", "The connection to the storage member broke before its answer; try again."),
    503: ("ServiceUnavailable", "No storage member can serve this request now: too many are away; try again."),
    504: ("RequestTimeout", "The storage member did not answer in time; try again."),
}
NO_TRAILER = (
    f"The payload is unsigned ({UNSIGNED_TRAILER}), which this storage cannot verify (CVE-2026-40344). "
    "Set request_checksum_calculation=when_required in the SDK, or sign the payload."
)
NO_ADMIN = "Paths below /minio/ are served to administrators on the members only."
NO_KEYS = "Keys that borrow a user's rights (STS) are not made here; ask for a service account."
NO_REPLACING = "A request that would replace a version, write without its retention, or forge its origin is not served."
NO_DOTS = "Paths with '.' or '..' as a part are not served."


@dataclass(frozen=True)
class Gateway:
    """One node's gateway, as it should be."""

    address: str  # of this node
    port: int
    members: Mapping[str, str]  # {name: address} of the storage's members
    gateways: Sequence[str]  # addresses of all nodes that have one
    member_port: int
    domain: str  # what the members' full names end in: their certificates name them so


def malformed(gateway: Gateway) -> str | None:
    """Why this cannot stand in HAProxy's configuration, whose quoting does not hold everywhere; else None."""
    odd = [name for name in (*gateway.members, gateway.domain) if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)]
    if odd:
        return f"found the name {odd[0]!r}; use a-z, 0-9, '.' and '-'"
    try:
        for address in (gateway.address, *gateway.members.values(), *gateway.gateways):
            ip_address(address)
    except ValueError as error:
        return f"found {error}"
    ports = [port for port in (gateway.port, gateway.member_port) if not 1024 <= port <= 65535]
    if ports:
        return f"found the port {ports[0]}; use one from 1024 to 65535"
    return None if gateway.members else "found no member; name those that serve S3"


def haproxy_cfg(gateway: Gateway) -> str:
    """The whole of HAProxy's configuration."""
    parts = (_global(), _defaults(), _frontend(gateway), _backend(gateway), _statistics())
    return HEADER + "\n".join(parts)


def _section(name: str, lines: Sequence[str]) -> str:
    return "\n".join([name, *(f"  {line}" if line else "" for line in lines), ""])


def _global() -> str:
    return _section(
        "global",
        [
            "log /dev/log len 4096 local0 info",
            "maxconn 4000",
            f"stats socket {SOCKET} mode 600 level admin expose-fd listeners",
            "stats timeout 30s",
            "# After a reload the process before goes on with what it was asked, but not for ever.",
            "hard-stop-after 1h",
            "ssl-default-bind-options ssl-min-ver TLSv1.3",
            "ssl-default-server-options ssl-min-ver TLSv1.3",
            "ssl-server-verify required",
            "tune.bufsize 65536",
        ],
    )


def _defaults() -> str:
    return _section(
        "defaults",
        [
            "mode http",
            "log global",
            "# What went well is not logged: it would push everything else out of the journal.",
            "option dontlog-normal",
            "option dontlognull",
            "# Who asks again on a connection just when a reload has come is answered, and only then closed.",
            "option idle-close-on-response",
            "timeout http-request 10s",
            "timeout http-keep-alive 60s",
            "timeout client 2m",
            "timeout connect 2s",
            "timeout queue 5s",
            "timeout server 2m",
            "timeout tarpit 5s",
            *(_http_error(status, *said) for status, said in ERRORS.items()),
        ],
    )


def _frontend(gateway: Gateway) -> str:
    binds = [f"bind {address}:{gateway.port} ssl crt {LEAF} alpn http/1.1" for address in (gateway.address, LOOPBACK)]
    return _section(
        "frontend s3",
        [
            *binds,
            "# No query string, no header: both carry signatures and credentials.",
            'log-format "%ci:%cp %s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %U %ts %ac/%fc/%bc/%sc/%rc %HM %[var(txn.path)]"',
            "http-request set-var(txn.path) path",
            "# What the members would take for the path: decoded, twice to be sure, without empty parts.",
            "http-request set-var(txn.plain) path,url_dec,url_dec,regsub(/+,/,g),lower",
            "acl health var(txn.path) -m str " + " ".join(HEALTH),
            r"acl dots var(txn.plain) -m reg '(^|[/\\])\s*\.{1,2}\s*([/\\]|$)'",
            r"acl internal var(txn.plain) -m reg '^[/\\\s]*(minio|\.minio\.sys)\s*([/\\]|$)'",
            f"acl unsigned req.hdr(x-amz-content-sha256) -m sub -i {UNSIGNED_TRAILER}",
            f"acl unsigned query,url_dec,url_dec -m sub -i {UNSIGNED_TRAILER}",
            *_guards_of_versions(),
            "acl members src " + " ".join(sorted(gateway.members.values())),
            *(_state_of(name) for name in sorted(gateway.members)),
            _refusal(400, "InvalidRequest", NO_TRAILER, "unsigned"),
            _refusal(400, "InvalidURI", NO_DOTS, "dots"),
            _refusal(403, "AccessDenied", NO_ADMIN, "internal !health"),
            "# Members believe these: for a condition on the source address, and for redirects.",
            *(f"http-request del-header {name}" for name in ("Forwarded", "X-Real-IP")),
            "http-request del-header X-Forwarded- -m beg",
            "http-request set-header X-Forwarded-For %[src]",
            f"default_backend {BACKEND}",
        ],
    )


def _guards_of_versions() -> list[str]:
    """What MinIO lets whoever may put an object do to versions under retention; no policy can deny all of it."""
    return [
        "# Denied before it sent its body, a client would send the next request where HAProxy waits for that body.",
        "http-request wait-for-body time 10s at-least 1 if { req.hdr(expect) -m found }",
        "acl changes method PUT POST",
        r"acl of_version query,url_dec -m reg -i '(^|&)versionid='",
        r"acl beside_data query,url_dec -m reg -i '(^|&)(tagging|retention|legal-hold|restore|select)(=|&|$)'",
        "acl replaces req.hdr(x-amz-bypass-governance-retention) -m found",
        "acl replaces req.hdr(content-type) -m beg -i multipart/form-data",
        r"acl replaces req.hdr_names -m reg -i '(^|,)x-minio-(source|replication|internal)'",
        "acl replaces req.hdr(x-amz-replication-status) -m found",
        _refusal(403, "AccessDenied", NO_REPLACING, "changes replaces"),
        _refusal(403, "AccessDenied", NO_REPLACING, "changes of_version !beside_data"),
        _refusal(403, "AccessDenied", NO_KEYS, "{ method POST } { path / }"),
    ]


def _state_of(member: str) -> str:
    """For the member's own node, before it stops: whether requests go there, and how many are under way."""
    said = f'"%[srv_is_up({BACKEND}/{member})] %[srv_conn({BACKEND}/{member})]"'
    return (
        f"http-request return status 200 content-type text/plain lf-string {said}"
        f" if {{ path {STATE_PATH}/{member} }} members"
    )


def _backend(gateway: Gateway) -> str:
    servers = [
        f"server {name} {address}:{gateway.member_port} verifyhost {name}.{gateway.domain}"
        for name, address in sorted(gateway.members.items())
    ]
    return _section(
        f"backend {BACKEND}",
        [
            "balance leastconn",
            "option httpchk",
            f"http-check send meth GET uri /minio/health/cluster ver HTTP/1.1 hdr Host s3.{gateway.domain}",
            "http-check expect status 200",
            "timeout check 3s",
            "# Nothing was sent yet: any request may go to another member. Later, only one that changes nothing.",
            "option redispatch 1",
            "retries 4",
            "retry-on conn-failure empty-response junk-response response-timeout 404 500 502 503 504",
            "acl reads method GET HEAD",
            "http-request disable-l7-retry unless reads",
            "# Until the next byte of an answer. Copies within the storage and the end of large uploads take longer.",
            "http-request set-timeout server 20s if reads",
            "http-request set-timeout server 30s if { method PUT } !{ req.hdr(x-amz-copy-source) -m found }",
            "# A member without power says nothing, ever.",
            "option srvtcpka",
            "srvtcpka-idle 3s",
            "srvtcpka-intvl 2s",
            "srvtcpka-cnt 3",
            "# A member that has just started denies for seconds what it missed: first 10 s of health.",
            f"default-server ssl ca-file {BUNDLE} verify required tcp-ut 9s check inter 3s fastinter 500ms"
            " fall 2 rise 20 observe layer4 error-limit 1 on-error mark-down",
            *servers,
        ],
    )


def _statistics() -> str:
    return _section(
        "frontend statistics",
        [f"bind unix@{STATS_SOCKET} mode 600", "stats enable", "stats uri /", "no log"],
    )


def _xml(code: str, message: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    )


def _quoted(text: str) -> str:
    """In HAProxy's double quotes; no text of ours has a backslash or a dollar."""
    return '"' + text.replace('"', '\\"') + '"'


def _http_error(status: int, code: str, message: str) -> str:
    return f"http-error status {status} content-type application/xml string {_quoted(_xml(code, message))}"


def _refusal(status: int, code: str, message: str, condition: str) -> str:
    answer = f"content-type application/xml string {_quoted(_xml(code, message))}"
    return f"http-request deny deny_status {status} {answer} if {condition}"


def drop_in() -> str:
    """Debian's unit with our hardening: no root, no capability, one folder of its own to write in."""
    return HEADER + "\n".join(
        [
            "[Service]",
            "EnvironmentFile=",
            f'Environment="CONFIG={CONFIG}" "PIDFILE={RUNTIME_FOLDER}/haproxy.pid" "EXTRAOPTS="',
            "BindReadOnlyPaths=",
            f"User={USER}",
            f"Group={USER}",
            f"RuntimeDirectory={RUNTIME_FOLDER.removeprefix('/run/')}",
            "RuntimeDirectoryMode=0700",
            "TimeoutStopSec=30",
            *HARDENING,
            "",
        ]
    )


# Source: systemd.exec(5). Ports above 1024 need no capability. The master takes a new configuration by executing
# itself anew. No MemoryDenyWriteExecute: its regular expressions are compiled to machine code (PCRE JIT).
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
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
    "KeyringMode=private",
    "LimitCORE=0",
    "LimitNOFILE=65536",
)
