"""user_data as a new machine takes it. Stands in for cloud-init: the few modules that the platform uses.

Of a cloud-config these keys are read: `hostname`, `ssh_keys`, `ssh_authorized_keys`. Others are left alone, as
cloud-init leaves what it does not know; so are scripts. Source: cloud-init's documentation, modules "Set Hostname" and
"SSH".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unterbau.lab.command import run
from unterbau.lab.errors import LabError
from unterbau.lab.inside import Identity

HEADER = "#cloud-config"
KINDS = ("ed25519", "ecdsa", "rsa")


class CloudConfig(BaseModel):
    """What is read of it."""

    model_config = ConfigDict(extra="ignore")

    hostname: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,62})$")] | None = None
    ssh_keys: dict[str, str] = {}
    ssh_authorized_keys: list[str] = []


def read(user_data: str) -> CloudConfig:
    """What user_data says; nothing if it is no cloud-config. LabError, without any of its text, if it is a bad one."""
    if user_data.partition("\n")[0].strip() != HEADER:
        return CloudConfig()
    try:
        return CloudConfig.model_validate(yaml.safe_load(user_data) or {})
    except (yaml.YAMLError, ValidationError):  # whose messages show the text
        keys = "hostname, ssh_keys, ssh_authorized_keys"
        raise LabError(f"cannot read user_data as a cloud-config: it is no YAML, or wrong at {keys}") from None


def identity(name: str, public_keys: Sequence[str], user_data: str) -> Identity:
    """Who a new server is; its host keys are new ones unless user_data has some."""
    config = read(user_data)
    authorized = "".join(f"{key.strip()}\n" for key in (*public_keys, *config.ssh_authorized_keys))
    return Identity(config.hostname or name, authorized, _given(config.ssh_keys) or _new(name), network="")


def _given(ssh_keys: dict[str, str]) -> dict[str, str]:
    found = {}
    for kind in KINDS:
        private, public = (ssh_keys.get(f"{kind}_{half}") for half in ("private", "public"))
        if private and public:
            found[f"ssh_host_{kind}_key"] = f"{private.strip()}\n"
            found[f"ssh_host_{kind}_key.pub"] = f"{public.strip()}\n"
    return found


def _new(name: str) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        key = Path(folder, "ssh_host_ed25519_key")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key))
        return {path.name: path.read_text() for path in (key, key.with_suffix(".pub"))}
