"""A load balancer's service, with the values that it has where none are given. Source: Hetzner Cloud API."""

from __future__ import annotations

from unterbau.lab.cloud.answer import Record, invalid
from unterbau.lab.cloud.load_balancer_bodies import CheckHttp, Http, Service

PORTS = {"http": 80, "https": 443}
INTERVAL_S = 15
TIMEOUT_S = 10
RETRIES = 3


def new_service(body: Service) -> Record:
    """A whole service; invalid_input where something is missing."""
    if body.protocol is None:
        raise invalid("protocol", "a service needs a protocol")
    if body.protocol == "https":
        raise invalid("http.certificates", "https needs a certificate, and the lab has none")
    listen = body.listen_port or PORTS.get(body.protocol)
    destination = body.destination_port or PORTS.get(body.protocol)
    if listen is None or destination is None:
        raise invalid("listen_port", "tcp needs listen_port and destination_port")
    service: Record = {
        "protocol": body.protocol, "listen_port": listen, "destination_port": destination,
        "proxyprotocol": bool(body.proxyprotocol),
        "health_check": {
            "protocol": body.protocol, "port": destination, "interval": INTERVAL_S, "timeout": TIMEOUT_S,
            "retries": RETRIES,
        },
    }  # fmt: skip
    if body.protocol == "http":
        service["http"] = Http().model_dump()
    return _with_http_check(merged(service, body))


def _with_http_check(service: Record) -> Record:
    check = service["health_check"]
    if check["protocol"] == "http":
        check["http"] = {**CheckHttp().model_dump(), **check.get("http", {})}
    return service


def merged(service: Record, body: Service) -> Record:
    """A service with what a request gives; the rest of it stays."""
    given = body.model_dump(exclude_unset=True, exclude_none=True)
    if "http" in given and given.get("protocol", service["protocol"]) == "tcp":
        raise invalid("http", "tcp has no HTTP options")
    result = {**service, **given}
    for part in ("health_check", "http"):
        if part in given:
            result[part] = {**service.get(part, {}), **given[part]}
    return _with_http_check(result)
