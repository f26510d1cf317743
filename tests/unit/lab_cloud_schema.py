"""The shapes of Hetzner's answers, as far as the lab has them: every field that must be there, and no other.

Written from the published API description (kinds of fields, which may be null); it is not a copy of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Shape = Any  # a type, a Shape in a list or in a dict, or one of the classes below


@dataclass(frozen=True)
class Null:
    """The shape, or null."""

    shape: Shape


@dataclass(frozen=True)
class Left:
    """A key that may be left out."""

    shape: Shape


@dataclass(frozen=True)
class OneOf:
    """One of these texts."""

    texts: tuple[str, ...]


def one_of(*texts: str) -> OneOf:
    return OneOf(texts)


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)")
NUMBER = (int, float)
LABELS = "labels"
PROTECTION = {"delete": bool}
PRICE = {"net": str, "gross": str}
IP_TYPE = one_of("ipv4", "ipv6")
DNS = {"ip": str, "dns_ptr": str}
SERVER_ID = {"id": int}
DEPRECATION = Null({"announced": TIME, "unavailable_after": TIME})
COMMON = {"id": int, "name": str, "labels": LABELS, "created": TIME}

ACTION = {
    "id": int, "command": str, "status": one_of("running", "success", "error"), "progress": int, "started": TIME,
    "finished": Null(TIME), "resources": [{"id": int, "type": str}], "error": Null({"code": str, "message": str}),
}  # fmt: skip
LOCATION = {
    "id": int, "name": str, "description": str, "country": str, "city": str, "latitude": NUMBER, "longitude": NUMBER,
    "network_zone": str,
}  # fmt: skip
PRICES = [{
    "location": str, "price_hourly": PRICE, "price_monthly": PRICE, "included_traffic": int,
    "price_per_tb_traffic": PRICE,
}]  # fmt: skip
SERVER_TYPE = {
    "id": int, "name": str, "description": str, "category": str, "cores": int, "memory": NUMBER, "disk": NUMBER,
    "cpu_type": one_of("shared", "dedicated"), "architecture": one_of("x86", "arm"),
    "storage_type": one_of("local", "network"), "deprecated": Null(bool), "deprecation": DEPRECATION, "prices": PRICES,
    "locations": [{"id": int, "name": str, "deprecation": DEPRECATION, "available": bool, "recommended": bool}],
}  # fmt: skip
LOAD_BALANCER_TYPE = {
    "id": int, "name": str, "description": str, "max_connections": int, "max_services": int, "max_targets": int,
    "max_assigned_certificates": int, "deprecated": Null(TIME), "deprecation": DEPRECATION, "prices": PRICES,
}  # fmt: skip
IMAGE = {
    **COMMON, "description": str, "type": one_of("system", "snapshot", "backup", "app"),
    "status": one_of("available", "creating", "unavailable"), "architecture": one_of("x86", "arm"), "os_flavor": str,
    "os_version": Null(str), "disk_size": NUMBER, "image_size": Null(NUMBER), "created_from": Null(dict),
    "bound_to": Null(int), "rapid_deploy": bool, "protection": PROTECTION, "deprecated": Null(TIME),
    "deleted": Null(TIME),
}  # fmt: skip
PLACEMENT_GROUP = {**COMMON, "type": one_of("spread"), "servers": [int]}
SERVER = {
    **COMMON, "server_type": SERVER_TYPE, "location": LOCATION, "image": Null(IMAGE), "iso": Null(dict),
    "status": one_of(
        "running", "initializing", "starting", "stopping", "off", "deleting", "migrating", "rebuilding", "unknown",
    ),
    "public_net": {
        "ipv4": Null({"id": int, "ip": str, "blocked": bool, "dns_ptr": str}),
        "ipv6": Null({"id": int, "ip": str, "blocked": bool, "dns_ptr": [DNS]}),
        "floating_ips": [int], "firewalls": [{"id": int, "status": one_of("applied", "pending")}],
    },
    "private_net": [{"network": int, "ip": str, "alias_ips": [str], "mac_address": str}],
    "protection": {"delete": bool, "rebuild": bool}, "placement_group": Null(PLACEMENT_GROUP), "volumes": [int],
    "load_balancers": [int], "primary_disk_size": int, "locked": bool, "rescue_enabled": bool,
    "backup_window": Null(str), "outgoing_traffic": Null(int), "ingoing_traffic": Null(int),
    "included_traffic": Null(int),
}  # fmt: skip
SSH_KEY = {**COMMON, "fingerprint": str, "public_key": str}
NETWORK = {
    **COMMON, "ip_range": str, "routes": [{"destination": str, "gateway": str}], "protection": PROTECTION,
    "subnets": [{
        "type": one_of("cloud", "server", "vswitch"), "ip_range": str, "network_zone": str, "gateway": str,
        "vswitch_id": Null(int),
    }],
    "servers": [int], "load_balancers": [int], "expose_routes_to_vswitch": bool,
}  # fmt: skip
FIREWALLED = {"type": one_of("server"), "server": SERVER_ID}
FIREWALL = {
    **COMMON,
    "rules": [{
        "direction": one_of("in", "out"), "protocol": one_of("tcp", "udp", "icmp", "esp", "gre"), "port": Null(str),
        "source_ips": [str], "destination_ips": [str], "description": Null(str),
    }],
    "applied_to": [{
        "type": one_of("server", "label_selector"), "server": Left(SERVER_ID),
        "label_selector": Left({"selector": str}), "applied_to_resources": Left([FIREWALLED]),
    }],
}  # fmt: skip
VOLUME = {
    **COMMON, "size": int, "format": Null(str), "server": Null(int), "location": LOCATION, "linux_device": str,
    "protection": PROTECTION, "status": one_of("available", "creating"),
}  # fmt: skip
PRIMARY_IP = {
    **COMMON, "ip": str, "type": IP_TYPE, "location": LOCATION, "assignee_id": Null(int),
    "assignee_type": one_of("server"), "auto_delete": bool, "blocked": bool, "dns_ptr": [DNS], "protection": PROTECTION,
}  # fmt: skip
FLOATING_IP = {
    **COMMON, "ip": str, "type": IP_TYPE, "home_location": LOCATION, "server": Null(int), "description": Null(str),
    "blocked": bool, "dns_ptr": [DNS], "protection": PROTECTION,
}  # fmt: skip
BALANCER_IP = {"id": Null(int), "ip": Null(str), "blocked": bool, "dns_ptr": Null(str)}
TARGET_SERVER = {"id": int, "ip": str}
HEALTH = [{"listen_port": int, "status": one_of("healthy", "unhealthy", "unknown")}]
LOAD_BALANCER = {
    **COMMON, "load_balancer_type": LOAD_BALANCER_TYPE, "location": LOCATION, "protection": PROTECTION,
    "algorithm": {"type": one_of("round_robin", "least_connections")},
    "public_net": {
        "enabled": bool, "ipv4": BALANCER_IP, "ipv6": BALANCER_IP,
    },
    "private_net": [{"network": int, "ip": str}],
    "services": [{
        "protocol": one_of("tcp", "http", "https"), "listen_port": int, "destination_port": int, "proxyprotocol": bool,
        "health_check": {
            "protocol": one_of("tcp", "http"), "port": int, "interval": int, "timeout": int, "retries": int,
            "http": Left(
                {"domain": Null(str), "path": str, "response": str, "status_codes": [str], "tls": bool}
            ),
        },
        "http": Left({
            "cookie_name": str, "cookie_lifetime": int, "certificates": [int], "redirect_http": bool,
            "sticky_sessions": bool, "timeout_idle": int,
        }),
    }],
    "targets": [{
        "type": one_of("server", "label_selector", "ip"), "server": Left(TARGET_SERVER), "ip": Left({"ip": str}),
        "label_selector": Left({"selector": str}), "use_private_ip": Left(bool), "health_status": Left(HEALTH),
        "targets": Left([{
            "type": one_of("server"), "server": TARGET_SERVER, "use_private_ip": bool, "health_status": HEALTH,
        }]),
    }],
    "outgoing_traffic": Null(int), "ingoing_traffic": Null(int), "included_traffic": int,
}  # fmt: skip
PRICING = {
    "currency": str, "vat_rate": str, "image": {"price_per_gb_month": PRICE}, "volume": {"price_per_gb_month": PRICE},
    "server_backup": {"percentage": str}, "floating_ip": {"price_monthly": PRICE},
    "floating_ips": [{"type": IP_TYPE, "prices": [{"location": str, "price_monthly": PRICE}]}],
    "primary_ips": [{"type": IP_TYPE, "prices": [{"location": str, "price_hourly": PRICE, "price_monthly": PRICE}]}],
    "server_types": [{"id": int, "name": str, "prices": PRICES}],
    "load_balancer_types": [{"id": int, "name": str, "prices": PRICES}],
}  # fmt: skip
META = {"pagination": {
    "page": int, "per_page": int, "previous_page": Null(int), "next_page": Null(int), "last_page": int,
    "total_entries": int,
}}  # fmt: skip
KINDS = {
    "server": SERVER, "ssh_key": SSH_KEY, "network": NETWORK, "placement_group": PLACEMENT_GROUP, "firewall": FIREWALL,
    "volume": VOLUME, "primary_ip": PRIMARY_IP, "floating_ip": FLOATING_IP, "load_balancer": LOAD_BALANCER,
    "location": LOCATION, "server_type": SERVER_TYPE, "load_balancer_type": LOAD_BALANCER_TYPE, "image": IMAGE,
    "iso": dict, "certificate": dict,
}  # fmt: skip
# Whatever an answer carries, by the name of it.
TOP = {
    **KINDS, **{f"{name}s": [shape] for name, shape in KINDS.items()}, "action": Null(ACTION), "actions": [ACTION],
    "next_actions": [ACTION], "root_password": Null(str), "meta": META, "pricing": PRICING,
    "error": {"code": str, "message": str, "details": Left(dict)},
}  # fmt: skip


def problems(value: Any, shape: Shape, at: str = "") -> list[str]:
    """What does not fit, each with the place of it; [] if all does."""
    if isinstance(shape, Null):
        return [] if value is None else problems(value, shape.shape, at)
    if isinstance(shape, Left):
        return problems(value, shape.shape, at)
    if isinstance(shape, list):
        return _in_list(value, shape[0], at)
    if isinstance(shape, dict):
        return _in_dict(value, shape, at)
    return [] if _fits(value, shape) else [f"{at}: {value!r} is not {shape}"]


def _fits(value: Any, shape: Shape) -> bool:
    if isinstance(shape, OneOf):
        return value in shape.texts
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and bool(shape.fullmatch(value))
    if shape == LABELS:
        return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    return isinstance(value, shape) and (shape is bool or not isinstance(value, bool))


def _in_list(value: Any, shape: Shape, at: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{at}: {value!r} is no list"]
    return [said for number, one in enumerate(value) for said in problems(one, shape, f"{at}[{number}]")]


def _in_dict(value: Any, shape: dict[str, Shape], at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    missing = [name for name, one in shape.items() if name not in value and not isinstance(one, Left)]
    found = [f"{at}.{name} is missing" for name in missing]
    found += [f"{at}.{name} is not known" for name in value if name not in shape]
    return found + [
        said for name, one in value.items() if name in shape for said in problems(one, shape[name], f"{at}.{name}")
    ]


def answer_problems(content: Any) -> list[str]:
    """What does not fit in the body of an answer."""
    if not isinstance(content, dict):
        return [f"{content!r} is no object"]
    unknown = [f".{name} is not known" for name in content if name not in TOP]
    return unknown + [
        said for name, one in content.items() if name in TOP for said in problems(one, TOP[name], f".{name}")
    ]
