"""Requests to MinIO's admin API. Bodies with secrets in them are encrypted with ours."""

from __future__ import annotations

import io
import json
from typing import Any, cast

from minio.crypto import decrypt, encrypt

from unterbau.connectors.s3_engine import Engine
from unterbau.secrets.hidden import Hidden

ADMIN = "/minio/admin/v3/"


class Admin(Engine):
    """Requests to MinIO's admin API."""

    def get(self, command: str, *, voted: bool = True, **query: str) -> Any:
        """The JSON that a question is answered with; null becomes {}.

        Not `voted` is what each server answers in its own way. The others know identities by heart: one that was cut
        off when it last read them has forgotten some.
        """
        return self.client.read(
            ADMIN + command, query, lambda content, _: json.loads(content or b"{}") or {}, voted=voted
        )

    def get_sealed(self, command: str, **query: str) -> Any:
        """The same where the answer is encrypted."""

        def decoded(content: bytes, secret: Hidden) -> Any:
            return json.loads(decrypt(cast(Any, _Stream(content)), secret.unmask())) or {}

        return self.client.read(ADMIN + command, query, decoded, voted=True)

    def send(self, method: str, command: str, body: Any = None, **query: str) -> bytes:
        """Change something; the answer as it came."""
        content = b"" if body is None else json.dumps(body).encode()
        return self.client.signed(method, ADMIN + command, query, lambda _: content)

    def send_sealed(self, method: str, command: str, body: Any, **query: str) -> bytes:
        """The same with an encrypted body."""
        content = json.dumps(body).encode()
        return self.client.signed(method, ADMIN + command, query, lambda secret: encrypt(content, secret))


class _Stream(io.BytesIO):
    """Bytes as minio's decrypt wants them."""

    def release_conn(self) -> None:
        """There is none."""
