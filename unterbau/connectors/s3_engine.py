"""What engines do each in their own way: identities, quotas, the cluster's state. Above this nobody knows which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.s3_client import S3Client

# {command: the feature that it belongs to}
COMMANDS = {
    "put_quota": "quota",
    "policies": "policies",
    "put_policy": "policies",
    "delete_policy": "policies",
    "groups": "groups",
    "put_group": "groups",
    "delete_group": "groups",
    "join": "groups",
    "leave": "groups",
    "users": "users",
    "put_user": "users",
    "delete_user": "users",
    "attach": "users",
    "detach": "users",
    "service_accounts": "service_accounts",
    "put_service_account": "service_accounts",
    "delete_service_account": "service_accounts",
    "cluster": "cluster",
    "heal_start": "heal",
    "heal_status": "heal",
}
COLLECTIONS = frozenset({"policies", "groups", "users", "service_accounts"})
READING = COLLECTIONS | {"cluster", "heal_status"}
EVERYWHERE = frozenset({"versioning", "lock", "lifecycle", "policy", "tags"})  # of buckets, with S3's own calls


class Engine:
    """An engine that has nothing but S3. Others say what they have, in `features`, in methods named as commands."""

    name: ClassVar[str] = "aws"
    features: ClassVar[frozenset[str]] = EVERYWHERE | {"cors", "abort_multipart"}
    instead: ClassVar[dict[str, str]] = {}  # what to do where a feature is missing
    health: ClassVar[str] = "/"  # a path that answers 2xx where a server can be asked

    def __init__(self, client: S3Client) -> None:
        self.client = client

    def command(self, name: str) -> Callable[..., Any]:
        """The method of that name; EndpointError if the engine has no such feature. What it lacks, it has none of."""
        feature = COMMANDS[name]
        if feature not in self.features and name in COLLECTIONS:
            return lambda: {}
        if feature not in self.features:
            step = self.instead.get(feature, "remove it from the declaration, or use an engine that has it")
            raise EndpointError(f"cannot {name}: {self.name} has no {feature.replace('_', ' ')}; {step}")
        method: Callable[..., Any] = getattr(self, name)
        return method

    def quota(self, _bucket: str) -> int | None:
        """Bytes that a bucket may hold; None without a limit."""
        return None
