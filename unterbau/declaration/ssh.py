"""Who may log in, and how the SSH servers are set."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from unterbau.declaration.base import Declaration
from unterbau.declaration.fields import Port, Some, UserName, different, repeated
from unterbau.declaration.keys import EXPECTED, PublicKeyFile, public_key

_WEAK = re.compile(r"cbc|arcfour|3des|blowfish|md5|sha1(?!\d)|umac-64|-96|ssh-dss|^ssh-rsa$|group1-|ripemd")
_RESERVED = (
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data",
    "backup", "list", "irc", "_apt", "nobody", "sshd", "messagebus", "polkitd", "_chrony", "postgres",
)  # fmt: skip


def algorithm(name: str) -> str:
    """A name as `ssh -Q` prints it, and not one with a known break. Source: Mozilla OpenSSH guidelines, RFC 9142."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9@.-]+", name):
        raise ValueError("an algorithm's name as `ssh -Q` prints it, such as curve25519-sha256")
    if _WEAK.search(name):
        raise ValueError("an algorithm without known weakness (no SHA-1, MD5, CBC, RC4, DSA, 64-bit tags)")
    return name


Algorithms = Annotated[Some[Annotated[str, AfterValidator(algorithm)]], AfterValidator(different)]


class SshServer(Declaration):
    """sshd of every node: keys only, no passwords. The defaults include what paramiko, our client, speaks."""

    port: Port = Field(22, description="where sshd listens; each node's `ssh_port` is the same")
    ciphers: Algorithms = Field(
        (
            "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
            "aes256-ctr", "aes128-ctr",
        ),
        description="in order of preference",
    )  # fmt: skip
    kex_algorithms: Algorithms = Field(
        (
            "sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org",
            "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512",
        ),
        description="key exchange, in order of preference",
    )  # fmt: skip
    macs: Algorithms = Field(
        ("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"),
        description="in order of preference; ciphers with GCM or Poly1305 need none",
    )
    host_key_algorithms: Algorithms = Field(
        ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"), description="in order of preference"
    )
    max_auth_tries: int = Field(3, ge=1, le=10, description="keys a client may offer on one connection")
    login_grace_s: int = Field(20, ge=5, le=300, description="time to log in before the connection is cut")
    client_alive_s: int = Field(60, ge=5, le=3600, description="between probes; a client that misses three is cut off")
    permit_root_login: bool = Field(True, description="True: root with a key only; False: not at all")


def _user(name: str) -> str:
    if name in _RESERVED:
        raise ValueError("a person's account, not one that Debian or its packages own")
    return name


def public_key_or_file(value: object) -> object:
    """A key's line, or the file that it lies in."""
    if isinstance(value, PublicKeyFile):
        return value
    if not isinstance(value, str):
        raise ValueError(EXPECTED)  # noqa: TRY004  # pydantic wants ValueError to collect it
    return public_key(value)


def _blob(key: str | PublicKeyFile) -> str:
    return key.path if isinstance(key, PublicKeyFile) else key.split()[1]


def _once(keys: tuple[str | PublicKeyFile, ...]) -> tuple[str | PublicKeyFile, ...]:
    if repeated(keys, _blob):
        raise ValueError("each key once")
    return keys


Account = Annotated[UserName, AfterValidator(_user)]
Keys = Annotated[Some[Annotated[str | PublicKeyFile, BeforeValidator(public_key_or_file)]], AfterValidator(_once)]


class Operator(Declaration):
    """An account for one person (or for CI), logged into with keys only."""

    name: Account = Field(description="the account's name, not one of Debian's own")
    declared_keys: Keys = Field(alias="authorized_keys", description="OpenSSH public keys, or `public_key_file(path)`")
    sudo: bool = Field(True, description="may become root without a password")

    @property
    def authorized_keys(self) -> tuple[str, ...]:
        """Lines for authorized_keys; files are read now (ValueError with what to do if one can't be)."""
        return tuple(key.read() if isinstance(key, PublicKeyFile) else key for key in self.declared_keys)
