"""Requests to MinIO's admin API. Bodies with secrets in them are encrypted with ours."""

from __future__ import annotations

import io
import json
from typing import Any, cast

from minio.crypto import decrypt, encrypt

from unterbau.connectors.s3_engine import Engine

ADMIN = "/minio/admin/v3/"


class Admin(Engine):
    """Requests to MinIO's admin API."""

    def get(self, command: str, **query: str) -> Any:
        """The JSON that a question is answered with; null becomes {}."""
        return json.loads(self.client.signed("GET", ADMIN + command, query)[0] or b"{}") or {}

    def get_sealed(self, command: str, **query: str) -> Any:
        """The same where the answer is encrypted."""
        content, secret = self.client.signed("GET", ADMIN + command, query)
        return json.loads(decrypt(cast(Any, _Stream(content)), secret.unmask())) or {}

    def send(self, method: str, command: str, body: Any = None, **query: str) -> bytes:
        """Change something; the answer as it came."""
        content = b"" if body is None else json.dumps(body).encode()
        return self.client.signed(method, ADMIN + command, query, lambda _: content)[0]

    def send_sealed(self, method: str, command: str, body: Any, **query: str) -> bytes:
        """The same with an encrypted body."""
        content = json.dumps(body).encode()
        return self.client.signed(method, ADMIN + command, query, lambda secret: encrypt(content, secret))[0]


class _Stream(io.BytesIO):
    """Bytes as minio's decrypt wants them."""

    def release_conn(self) -> None:
        """There is none."""
