"""A bucket of backups and its writer, as whoever stole the writer's key finds them, and the root who looks after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from minio import MinioAdmin
from minio.credentials import StaticProvider

CONTENT = b"the first backup"
CONFIG = Config(
    retries={"total_max_attempts": 1},
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",  # or it sends unsigned trailers, which the gateway refuses
    response_checksum_validation="when_required",
)


@dataclass
class Target:
    """A bucket of backups under COMPLIANCE retention, its writer, and the root who looks after each attempt."""

    url: str
    authorities: str  # PEM file
    root: str
    root_secret: str
    writer: str
    writer_secret: str
    bucket: str
    other: str  # somebody else's bucket, with an object `secret`
    root_url: str = ""  # where the root is let in; the same by itself

    def client(self, name: str, secret: str, url: str) -> Any:
        return boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=name, aws_secret_access_key=secret, region_name="us-east-1",
            verify=self.authorities, config=CONFIG,
        )  # fmt: skip

    @cached_property
    def by_root(self) -> Any:
        return self.client(self.root, self.root_secret, self.root_url or self.url)

    @cached_property
    def by_writer(self) -> Any:
        return self.client(self.writer, self.writer_secret, self.url)

    @property
    def admin(self) -> MinioAdmin:
        """MinIO's administration, in the writer's name."""
        return self.admin_of("writer")

    def admin_of(self, who: str) -> MinioAdmin:
        """In the name of the root, or of the writer."""
        names = {"root": (self.root, self.root_secret), "writer": (self.writer, self.writer_secret)}
        url = (self.root_url or self.url) if who == "root" else self.url
        http = urllib3.PoolManager(ca_certs=self.authorities, retries=False)
        return MinioAdmin(endpoint=urlsplit(url).netloc, credentials=StaticProvider(*names[who]), http_client=http)

    @cached_property
    def first(self) -> dict[str, str]:
        """The object whose first version must stay: {Key, VersionId}."""
        key = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}/base.tar"
        return {
            "Key": key,
            "VersionId": self.by_writer.put_object(Bucket=self.bucket, Key=key, Body=CONTENT)["VersionId"],
        }

    @cached_property
    def retention(self) -> dict[str, Any]:
        """What the first version had from the beginning."""
        return self._retention()

    @cached_property
    def configuration(self) -> dict[str, Any]:
        return self._configured()

    def _configured(self) -> dict[str, Any]:
        lock = self.by_root.get_object_lock_configuration(Bucket=self.bucket)["ObjectLockConfiguration"]
        try:
            policy = self.by_root.get_bucket_policy(Bucket=self.bucket)["Policy"]
        except ClientError as error:
            policy = error.response["Error"]["Code"]
        return {
            "lock": lock,
            "policy": policy,
            "versioning": self.by_root.get_bucket_versioning(Bucket=self.bucket)["Status"],
        }

    def broken(self) -> list[str]:
        """What is no more as it was; [] if all is."""
        seen = {
            "its content": (self._seen(self._content), CONTENT),
            "its retention": (self._seen(self._retention), self.retention),
            "the bucket's settings": (self._seen(self._configured), self.configuration),
        }
        return [f"{what} is {now}" for what, (now, was) in seen.items() if now != was]

    @staticmethod
    def _seen(look: Callable[[], Any]) -> Any:
        try:
            return look()
        except ClientError as error:
            return error.response["Error"]["Code"]

    def _content(self) -> bytes:
        found: bytes = self.by_root.get_object(Bucket=self.bucket, **self.first)["Body"].read()
        return found

    def _retention(self) -> dict[str, Any]:
        found: dict[str, Any] = self.by_root.get_object_retention(Bucket=self.bucket, **self.first)["Retention"]
        return found


@contextmanager
def added(client: Any, operation: str, query: str = "", **headers: str) -> Iterator[Any]:
    """The client, whose requests of one operation also say this, signed."""

    def add(request: Any, **_more: Any) -> None:
        if query:
            request.url += ("&" if "?" in request.url else "?") + query
        for name, value in headers.items():
            request.headers[name.replace("_", "-")] = value

    client.meta.events.register(f"before-sign.s3.{operation}", add)
    try:
        yield client
    finally:
        client.meta.events.unregister(f"before-sign.s3.{operation}", add)
