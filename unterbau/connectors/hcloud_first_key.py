"""The key that a new server shows at its first login: made here, pinned before the server is asked for.

Its private half goes to the server in its user data, which every process there may read. So it is stored nowhere here,
it is of another type than the key that the server makes itself, and `operations.ssh_host_key` retires it with the first
login, before anything secret goes there. Source of the user data: cloud-init, module "SSH", `ssh_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from unterbau.connectors.endpoint import EndpointError
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.known_hosts import FIRST, Pin, pinned, repinned

HEADER = "#cloud-config\n"


@dataclass(frozen=True)
class FirstKey:
    """One key, pinned under the server's name and address in `file`; what was pinned before is in `earlier`."""

    file: Path
    names: tuple[str, str]
    private: Hidden
    public: str
    earlier: tuple[Pin, ...]

    def within(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of POST /servers with this key in its user data; EndpointError for user data that has no place."""
        text = str(body.get("user_data") or HEADER)
        found = yaml.safe_load(text) if text.startswith(HEADER) else ""
        if found is not None and not isinstance(found, dict):
            name = self.names[0]
            raise EndpointError(f"cannot create server {name}: found user data that is no cloud-config; correct it")
        keys = {"ecdsa_private": self.private.unmask(), "ecdsa_public": self.public}
        return {**body, "user_data": HEADER + yaml.safe_dump({**(found or {}), "ssh_keys": keys}, sort_keys=True)}

    def withdraw(self) -> None:
        """Pin what was pinned before: there is no server with this key."""
        repinned(self.file, self.names, self.earlier)


def pinned_first(name: str, wanted: Mapping[str, Any]) -> FirstKey:
    """A new key, pinned in place of all that the server's name and address had. `wanted`: `file` and `address`."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = Hidden(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    file, names = Path(wanted["file"]).expanduser(), (name, str(wanted["address"]))
    earlier = tuple(dict.fromkeys(one for each in names for one in pinned(file, each)))
    repinned(file, names, [Pin(names, public, FIRST)])
    return FirstKey(file, names, private, public, earlier)
