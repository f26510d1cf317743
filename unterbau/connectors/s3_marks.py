"""What is ours, as objects `marks/<kind>/<name>` of a bucket of our own, which the first mark makes."""

from __future__ import annotations

import json
from typing import Any

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.s3_client import S3Client
from unterbau.connectors.s3_wire import S3Error

OURS = "unterbau"  # the bucket, and who the owner is
LARGEST_BYTES = 4096


class Marks:
    """See the module."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    def all(self, kind: str) -> dict[str, dict[str, str]]:
        """{name: {owner, hash…}} of a kind; {} if there are none."""
        start = f"marks/{kind}/"
        return {key.removeprefix(start): self._read(key) for key in self._keys(start)}

    def put(self, kind: str, name: str, **more: str) -> None:
        """Say that it is ours."""
        text = json.dumps({"owner": OURS, **more}, sort_keys=True)
        mark = {"Bucket": OURS, "Key": f"marks/{kind}/{name}", "Body": text.encode(), "ContentType": "application/json"}
        try:
            self._client.call("put_object", mark)
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            self._client.call("create_bucket", {"Bucket": OURS})
            self._client.call("put_object", mark)

    def delete(self, kind: str, name: str) -> None:
        """Say no more that it is."""
        try:
            self._client.call("delete_object", {"Bucket": OURS, "Key": f"marks/{kind}/{name}"})
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise

    def _keys(self, start: str) -> list[str]:
        keys: list[str] = []
        following: dict[str, str] = {}
        while True:
            try:
                page = self._client.call("list_objects_v2", {"Bucket": OURS, "Prefix": start, **following})
            except S3Error as error:
                if error.code == "NoSuchBucket":
                    return []
                raise
            keys += [found["Key"] for found in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return sorted(keys)
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _read(self, key: str) -> dict[str, str]:
        text = self._client.call("get_object", {"Bucket": OURS, "Key": key})["Body"].read(LARGEST_BYTES)
        try:
            mark: Any = json.loads(text)
            return {str(name): str(value) for name, value in mark.items()}
        except (ValueError, AttributeError) as error:
            raise EndpointError(
                f"cannot read the mark {OURS}/{key}: found no JSON object; delete it by hand, and plan again"
            ) from error
