"""A load balancer's service: a new one whole, an old one with what changes. Source: Hetzner Cloud API."""

from __future__ import annotations

from unterbau.lab.cloud.answer import Record, invalid
from unterbau.lab.cloud.load_balancer_bodies import CheckHttpChanged, HttpChanged, Service, ServiceChanged


def new_service(body: Service) -> Record:
    """A service, with the options of HTTP that it does not name."""
    return merged({"http": HttpChanged().model_dump()} if body.protocol == "http" else {}, body)


def merged(service: Record, body: ServiceChanged) -> Record:
    """A service with what a request gives; the rest of it stays."""
    given = body.model_dump(exclude_unset=True, exclude_none=True)
    result = {**service, **given}
    if result["protocol"] == "https":
        raise invalid("http.certificates", "https needs a certificate, and the lab has none")
    if "http" in given and result["protocol"] == "tcp":
        raise invalid("http", "tcp has no HTTP options")
    for part in ("health_check", "http"):
        if part in given:
            result[part] = {**service.get(part, {}), **given[part]}
    return _with_http_check(result)


def _with_http_check(service: Record) -> Record:
    check = service["health_check"]
    if check["protocol"] == "http":
        check["http"] = {**CheckHttpChanged().model_dump(), **check.get("http", {})}
    return service
