"""All that can be asked of an S3 endpoint: boto3's methods, composite reads, what engines do in their own way."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.response import StreamingBody

from unterbau.connectors import s3_engine
from unterbau.connectors.endpoint import Call, EndpointError
from unterbau.connectors.s3_boto import METHODS
from unterbau.connectors.s3_buckets import Buckets
from unterbau.connectors.s3_client import S3Client
from unterbau.connectors.s3_engine import Engine
from unterbau.connectors.s3_marks import Marks
from unterbau.connectors.s3_minio import MinioEngine
from unterbau.connectors.s3_seaweedfs import SeaweedFs

ENGINES: Mapping[str, type[Engine]] = {"minio": MinioEngine, "seaweedfs": SeaweedFs, "aws": Engine}
LARGEST_TEXT_BYTES = 1 << 20
BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"  # as the engines take them; an ARN would be another service
READING = s3_engine.READING | {"describe_buckets", "bucket_usage", "marks", "features"}


class Commands:
    """See the module."""

    def __init__(self, client: S3Client, engine: str) -> None:
        self.client, self.engine = client, ENGINES[engine](client)
        buckets = Buckets(client, cors="cors" in self.engine.features, quota=self.engine.quota)
        marks = Marks(client)
        self._own: dict[str, Callable[..., Any]] = {
            "describe_buckets": buckets.described,
            "bucket_usage": buckets.used,
            "empty_bucket": buckets.emptied,
            "marks": marks.all,
            "put_mark": marks.put,
            "delete_mark": marks.delete,
            "features": lambda: sorted(self.engine.features),
        }

    def __contains__(self, method: object) -> bool:
        return method in self._own or method in s3_engine.COMMANDS or method in METHODS

    def writes(self, method: str) -> bool:
        """Whether it may change something."""
        return METHODS.get(method) not in ("GET", "HEAD") and method not in READING

    def answer(self, call: Call) -> Any:
        """JSON; EndpointError."""
        if call.verb in METHODS:
            return _json(self._s3(call.verb, call.body))
        command = self._own.get(call.verb) or self.engine.command(call.verb)
        try:
            inspect.signature(command).bind(**call.body)
        except TypeError as error:
            raise EndpointError(f"cannot {call.verb}: found other parameters than its own: {error}") from None
        done = command(**call.body)
        return {} if done is None else _json(done)

    def _s3(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        bucket = parameters.get("Bucket", "any-name")
        if not re.fullmatch(BUCKET, str(bucket), re.ASCII) or ".." in bucket:
            raise EndpointError(f"cannot {method}: found the bucket name {bucket!r}; S3 has none such")
        body = parameters.get("Body")
        return self.client.call(method, {**parameters, "Body": body.encode()} if isinstance(body, str) else parameters)


def _json(value: Any) -> Any:
    """The answer as JSON has it: moments in UTC, bodies as text."""
    match value:
        case dict():
            return {str(key): _json(one) for key, one in value.items()}
        case list() | tuple():
            return [_json(one) for one in value]
        case datetime():
            return value.astimezone(UTC).isoformat()
        case StreamingBody():
            return _text(value)
        case bytes():
            return value.decode(errors="replace")
        case None | bool() | int() | float() | str():
            return value
    raise EndpointError(f"cannot show an answer of the kind {type(value).__name__}; use another method")


def _text(body: StreamingBody) -> str:
    content = body.read(LARGEST_TEXT_BYTES + 1)
    body.close()
    try:
        if len(content) > LARGEST_TEXT_BYTES:
            raise EndpointError(f"cannot show the object: found more than {LARGEST_TEXT_BYTES >> 20} MiB")
        return str(content.decode())
    except UnicodeDecodeError as error:
        raise EndpointError("cannot show the object: found no UTF-8 text") from error
