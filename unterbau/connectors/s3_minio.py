"""MinIO, as built from its source in 2026: what it has, and quotas of buckets."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from unterbau.connectors.s3_engine import EVERYWHERE
from unterbau.connectors.s3_minio_identities import Identities
from unterbau.connectors.s3_minio_state import State


class MinioEngine(Identities, State):
    """See the module."""

    name = "minio"
    features: ClassVar[frozenset[str]] = EVERYWHERE | {
        "quota", "policies", "groups", "users", "service_accounts", "cluster", "heal",
    }  # fmt: skip
    instead: ClassVar[dict[str, str]] = {
        "cors": "it answers every origin alike; let the application's own proxy decide"
    }
    health = "/minio/health/cluster"

    @override
    def quota(self, _bucket: str) -> int | None:
        found = self.get("get-bucket-quota", bucket=_bucket)
        return found.get("size") or found.get("quota") or None

    def put_quota(self, name: str, bytes: int | None = None) -> None:  # the command's own word
        """The bucket holds no more than that; None is no limit."""
        self.send(
            "PUT", "set-bucket-quota", {"quota": bytes or 0, "size": bytes or 0, "quotatype": "hard"}, bucket=name
        )
