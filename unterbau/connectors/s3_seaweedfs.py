"""SeaweedFS: what it has of S3."""

from __future__ import annotations

from typing import ClassVar

from unterbau.connectors.s3_engine import EVERYWHERE, Engine


class SeaweedFs(Engine):
    """See the module."""

    name = "seaweedfs"
    features: ClassVar[frozenset[str]] = EVERYWHERE | {"cors", "abort_multipart"}
    health = "/healthz"
