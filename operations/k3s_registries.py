"""Where nodes fetch images instead of from the registry that their names tell, as K3s reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyinfra.api import HiddenValue

from facts.k3s import FOLDER, REGISTRIES
from operations.k3s_hardening import HEADER
from unterbau.secrets.hidden import MASK


@dataclass(frozen=True)
class Mirror:
    """Of one registry. `ca` is a certificate (PEM)."""

    registry: str
    endpoints: Sequence[str]
    ca: HiddenValue | None = None
    username: str = ""
    password: HiddenValue | None = None


def ca_file(mirror: Mirror) -> str:
    """Where its authority lies; "*" is no name for a file."""
    return f"{FOLDER}/registries/{mirror.registry.replace('*', 'all').replace(':', '-')}.crt"


def files(mirrors: Sequence[Mirror]) -> dict[str, str | HiddenValue]:
    """{path: text} of registries.yaml and of authorities; {} without a mirror. Source: K3s docs, private-registry."""
    if not mirrors:
        return {}
    certificates: dict[str, str | HiddenValue] = {ca_file(one): one.ca for one in mirrors if one.ca is not None}
    return {**certificates, REGISTRIES: HiddenValue(registries_yaml(mirrors), MASK)}


def registries_yaml(mirrors: Sequence[Mirror]) -> str:
    """JSON is YAML; configurations are by the host of an endpoint."""
    configurations: dict[str, dict[str, object]] = {}
    for mirror in mirrors:
        one: dict[str, object] = {}
        if mirror.password is not None:
            one["auth"] = {"username": mirror.username, "password": mirror.password.unmask()}
        if mirror.ca is not None:
            one["tls"] = {"ca_file": ca_file(mirror)}
        for endpoint in mirror.endpoints if one else ():
            configurations[urlsplit(endpoint).netloc] = one
    listed = {mirror.registry: {"endpoint": list(mirror.endpoints)} for mirror in mirrors}
    return HEADER + json.dumps({"mirrors": listed, "configs": configurations}, indent=2) + "\n"
