"""The key that a new server shows at its first login: made here, pinned before the server is asked for.

Its private half goes to the server in its user data, which every process there may read. So it is stored nowhere here,
it is of another type than the key that the server makes itself, and `operations.ssh_host_key` retires it with the first
login, before anything secret goes there. Source of the user data: cloud-init, module "SSH", `ssh_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from unterbau.connectors.endpoint import EndpointError
from unterbau.domain.cloud_labels import FIRST_KEY
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.known_hosts import FIRST, Pin, pinned, repinned

HEADER = "#cloud-config\n"
FINGERPRINT = 32  # characters, 128 bits


@dataclass(frozen=True)
class FirstKey:
    """One key, pinned under the server's name and address in `file`; what was pinned before is in `earlier`."""

    file: Path
    names: tuple[str, str]
    private: Hidden
    public: str
    earlier: tuple[Pin, ...]
    told: Mapping[str, Any]

    @property
    def user_data(self) -> str:
        """What the server is told: what it was to be told, and this key."""
        keys = {"ecdsa_private": self.private.unmask(), "ecdsa_public": self.public}
        return HEADER + yaml.safe_dump({**self.told, "ssh_keys": keys}, sort_keys=True)

    @property
    def label(self) -> dict[str, str]:
        """What the server is labelled with: by it one knows later whether this attempt made it, or another one."""
        return {FIRST_KEY: sha256(self.public.encode()).hexdigest()[:FINGERPRINT]}

    def withdraw(self) -> None:
        """Pin what was pinned before: there is no server with this key.

        Unless it is not pinned any more: another run has pinned the key of its own attempt since, which may have won.
        """
        repinned(self.file, self.names, self.earlier, only_for=self.public)


def pinned_first(name: str, wanted: Mapping[str, Any], user_data: str = "") -> FirstKey:
    """A new key, pinned in place of all that the server's name and address had; `wanted`: `file` and `address`.

    EndpointError for user data that has no place for it, and for a file that cannot be written.
    """
    told = _cloud_config(name, user_data or HEADER)
    key = ec.generate_private_key(ec.SECP256R1())
    private = Hidden(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    file, names = Path(wanted["file"]).expanduser(), (name, str(wanted["address"]))
    try:
        earlier = tuple(dict.fromkeys(one for each in names for one in pinned(file, each)))
        repinned(file, names, [Pin(names, public, FIRST)])
    except OSError as error:
        said = f"cannot create server {name}: its first host key cannot be pinned in {file}: {error.strerror}; "
        raise EndpointError(f"{said}see who may write there") from error
    return FirstKey(file, names, private, public, earlier, told)


def _cloud_config(name: str, text: str) -> dict[str, Any]:
    found = yaml.safe_load(text) if text.startswith(HEADER) else ""
    if found is not None and not isinstance(found, dict):
        raise EndpointError(f"cannot create server {name}: found user data that is no cloud-config; correct it")
    return found or {}
