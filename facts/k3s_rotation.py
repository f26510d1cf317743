"""What of a K3s cluster is made anew from time to time: its token, as etcd knows it, and the key of its Secrets."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal, TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.etcd import TLS, calling
from facts.k3s_api import ADMIN, DATA, curl
from facts.k3s_restore import READING as RESTORE
from facts.k3s_restore import Restore, restore_of
from unterbau.domain.unknown import UNKNOWN, Unknown

PREFIX = "/bootstrap/"  # followed by the token's hash. Source: K3s, pkg/cluster, storageKey
UNIT = "k3s.service"
TOKEN_FILE = f"{DATA}/server/token"
LOGIN_NEEDED = "v1-k3s/encrypt/status"  # only who has the servers' token reads it
REFUSED = ("401", "403")
# K3s asks its own server and reads the token from TOKEN_FILE: none is on the command line.
STATUS = "/usr/local/bin/k3s secrets-encrypt status --output json"


class TokenState(Restore):
    """Under which token the cluster is, by the hash that K3s gives one. No token leaves the node."""

    own: str | None  # of the token in this server's own file: what it joined with, or was asked to rotate to
    believed: bool | None  # whether its process takes that token; None if it does not say
    cluster: list[str] | None  # of those that etcd has the cluster's keys under; None if etcd does not answer


class Token(FactBase[TokenState | Unknown]):
    """The hash of the cluster's token, as this server's disk and etcd have it.

    The process knows the token that it was started with, whatever is on the disk since: K3s writes the new one of a
    rotation there at once. Source: K3s, pkg/server/handlers/token.go. So it is asked, at the declared `port`.
    """

    @override
    @staticmethod
    def default() -> TokenState | Unknown:
        return UNKNOWN

    @override
    def command(self, port: int = 6443) -> str:
        body = {"key": _base64(PREFIX), "range_end": _base64(PREFIX[:-1] + "0"), "keys_only": True}
        ask = calling("kv/range", json.dumps(body))
        digest = f"t=$(cat {TOKEN_FILE}) && printf %s \"${{t##*:}}\" | sha256sum | sed 's/^/own /'"
        return (
            f"if ! test -e {TOKEN_FILE}; then echo 'own none'; else {{ {digest}; }} || exit 1; {_login(port)}; fi; "
            f"if ! test -e {TLS}/client.key; then echo 'keys none'; else printf 'keys %s\\n' \"$({ask})\"; fi; "
            + RESTORE
        )

    @override
    def process(self, output: list[str]) -> TokenState | Unknown:
        said = {kind: rest for kind, _, rest in (line.partition(" ") for line in output)}
        if not said.get("own") or "keys" not in said:
            raise FactProcessError(f"cannot read under which token the cluster is: found {output[:2]}")
        own = said["own"]
        return {
            **restore_of(output),
            "own": None if own == "none" else own[:12],
            "believed": {"200": True, **dict.fromkeys(REFUSED, False)}.get(said.get("login", "")),
            "cluster": _hashes(said["keys"]),
        }


def _login(port: int) -> str:
    """Shell text that prints `login STATUS` of the token in $t. It is on no command line: `printf` is the shell's."""
    url = f"https://127.0.0.1:{port}/{LOGIN_NEEDED}"
    shown = "--output /dev/null --write-out 'login %{http_code}\\n'"
    quoted = 'sed \'s/[\\\\"]/\\\\&/g; s/.*/user = "server:&"/\''
    return (
        f'printf %s "${{t##*:}}" | {quoted} | {curl()} --cacert {ADMIN.folder}/server-ca.crt {shown} --config - {url}'
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _hashes(text: str) -> list[str] | None:
    said = _json(text)
    if "header" not in said:
        return None  # no etcd here, no answer, or an error
    keys = (base64.b64decode(one["key"]).decode() for one in said.get("kvs", ()))
    return sorted(key.removeprefix(PREFIX) for key in keys)


Untold = Literal["untold"]
UNTOLD: Untold = "untold"


class EncryptionState(TypedDict):
    """How Secrets are encrypted, as this server tells. `key` is a name, never a key."""

    enabled: bool
    stage: str  # start, reencrypt_active, reencrypt_finished …
    key: str  # "AES-CBC aescbckey-2026-11-22T01:02:03Z"; the first one of a cluster has no date
    alike: bool  # all servers have the same keys


class Encryption(FactBase[EncryptionState | Untold | Unknown | None]):
    """How Secrets are encrypted; None where no server runs, UNTOLD if one runs and does not say it.

    One that does not is what a killed rotation of the token leaves: it still knows the password before. Its plan has
    to be made all the same, for its restart is in it.
    """

    @override
    @staticmethod
    def default() -> EncryptionState | Untold | Unknown | None:
        return UNKNOWN

    @override
    def command(self) -> str:
        return f"if systemctl is-active --quiet {UNIT}; then {STATUS} || echo {UNTOLD}; else echo null; fi"

    @override
    def process(self, output: list[str]) -> EncryptionState | Untold | Unknown | None:
        text = "\n".join(output)
        if text.strip() == "null":
            return None
        said = _json(text)
        if "stage" not in said and UNTOLD in output:
            return UNTOLD
        if "stage" not in said:
            raise FactProcessError(f"cannot read how Secrets are encrypted: found {text[:200]!r}")
        return {
            "enabled": said.get("enable") is True,
            "stage": str(said["stage"]),
            "key": str(said.get("activekey", "")),
            "alike": said.get("hashmatch") is True,  # left out if it is false
        }


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}  # none, or one that was cut off
    return value if isinstance(value, dict) else {}
