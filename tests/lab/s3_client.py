"""An application's S3 client on one node: `python -m tests.lab.s3_client ADDRESS ROOT_CERTIFICATE` in its network.

Standard input: the secret key, then one order a line; standard output: one answer a line. Both are JSON. boto3 as an
application has it, without retries: what the service answers is what is counted. An object's bytes follow from its
name and size, so that nothing has to be sent here, and every read is checked while it streams.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

FAILURES = (BotoCoreError, ClientError, HTTPError)  # the last: a body that breaks off
CHUNK = 2**20
ACCESS_KEY, REGION = "unterbau", "us-east-1"
GATEWAY_PORT, API_PORT = 9443, 9000
THREADS = 4
READ_TIMEOUT_S = 90
_say_lock = threading.Lock()


def content(name: str, size: int) -> bytes:
    """The bytes of an object, the same for whoever asks."""
    return random.Random(name).randbytes(size)  # noqa: S311  # no secret


def sha256(name: str, size: int) -> str:
    """What an object's bytes hash to."""
    return hashlib.sha256(content(name, size)).hexdigest()


def say(answer: Mapping[str, Any]) -> None:
    """One line to whoever started this."""
    with _say_lock:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def failure(error: Exception) -> str:
    """An error in a few words: the service's code, or the exception's name."""
    if isinstance(error, ClientError):
        answer = error.response
        return f"{answer['ResponseMetadata'].get('HTTPStatusCode')} {answer['Error'].get('Code')}"
    return type(error).__name__


def _states(drives: Mapping[str, Any]) -> str:
    counts = Counter(one["state"] for one in drives["drives"])
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


class Worker:
    """The orders. Each gives its answer."""

    def __init__(self, address: str, root: str, secret: str) -> None:
        self.address, self.secret = address, secret
        self.http = PoolManager(ca_certs=root, timeout=30)
        self.s3 = boto3.client(
            "s3",
            endpoint_url=f"https://{address}:{GATEWAY_PORT}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=secret,
            region_name=REGION,
            verify=root,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=READ_TIMEOUT_S,
                max_pool_connections=16,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"},
            ),
        )

    def bucket(self, name: str, versioning: bool = False) -> dict[str, Any]:
        """Make a bucket that may be there."""
        with suppress(self.s3.exceptions.BucketAlreadyOwnedByYou):
            self.s3.create_bucket(Bucket=name)
        if versioning:
            self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return {}

    def write(self, bucket: str, sizes: Mapping[str, int], threads: int = THREADS) -> dict[str, Any]:
        """Put objects: {"written": names that were acknowledged, "failed": {name: why}, "slowest_s"}."""
        return self._each(list(sizes), lambda name: self._put(bucket, name, sizes[name]), "written", threads)

    def read(self, bucket: str, hashes: Mapping[str, str], threads: int = THREADS) -> dict[str, Any]:
        """Get objects: {"equal": names, "wrong": names, "failed": {name: why}, "slowest_s"}."""
        wrong: list[str] = []

        def one(name: str) -> None:
            if self._get(bucket, name) != hashes[name]:
                wrong.append(name)

        answer = self._each(sorted(hashes), one, "equal", threads)
        return {**answer, "wrong": wrong, "equal": [name for name in answer["equal"] if name not in wrong]}

    def listing(self, bucket: str, prefix: str = "") -> dict[str, Any]:
        """{"names": {name: size}, "uploads": keys of multipart uploads that were not ended}."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        names = {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", [])}
        uploads = self.s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
        return {"names": names, "uploads": [one["Key"] for one in uploads]}

    def load(self, bucket: str, prefix: str, old: Mapping[str, str], sizes: list[int]) -> dict[str, Any]:
        """Two threads write and two read, until the next line. Counts by outcome; every acknowledged write by hash."""
        ended = threading.Event()
        written: dict[str, int] = {}
        counts: Counter[str] = Counter()
        slowest: dict[str, float] = {"read": 0.0, "write": 0.0}

        def count(kind: str, act: Callable[[], str]) -> None:
            started = time.monotonic()
            try:
                outcome = act()
            except FAILURES as error:
                outcome = failure(error)
            slowest[kind] = max(slowest[kind], time.monotonic() - started)
            counts[f"{kind} {outcome}"] += 1

        def writer(thread: int) -> None:
            number = 0
            while not ended.is_set():
                name, size = f"{prefix}/{thread}-{number:05}", sizes[number % len(sizes)]

                def put(name: str = name, size: int = size) -> str:
                    self._put(bucket, name, size)
                    written[name] = size
                    return "ok"

                count("write", put)
                number += 1

        def reader(thread: int) -> None:
            names = random.Random(thread)  # noqa: S311
            known = sorted(old)
            while not ended.is_set():
                name = names.choice(known)
                count("read", lambda name=name: "ok" if self._get(bucket, name) == old[name] else "WRONG")  # type: ignore[misc]

        threads = [threading.Thread(target=writer, args=(one,)) for one in range(2)]
        threads += [threading.Thread(target=reader, args=(one,)) for one in range(2)]
        for one in threads:
            one.start()
        say({"loading": True})
        sys.stdin.readline()
        ended.set()
        for one in threads:
            one.join()
        hashes = {name: sha256(name, size) for name, size in written.items()}
        return {"written": hashes, "counts": dict(counts), "slowest_s": slowest}

    def uploads(self, bucket: str, prefix: str, count: int, parts: int, part_size: int) -> dict[str, Any]:
        """Multipart uploads, eight at a time. Says so after each that was acknowledged."""
        acknowledged: dict[str, str] = {}

        def one(name: str) -> None:
            data = content(name, parts * part_size)
            upload = self.s3.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
            to = {"Bucket": bucket, "Key": name, "UploadId": upload}
            done = []
            for number in range(parts):
                piece = data[number * part_size : (number + 1) * part_size]
                answer = self.s3.upload_part(**to, PartNumber=number + 1, Body=piece)
                done.append({"PartNumber": number + 1, "ETag": answer["ETag"]})
            self.s3.complete_multipart_upload(Bucket=bucket, Key=name, UploadId=upload, MultipartUpload={"Parts": done})
            acknowledged[name] = hashlib.sha256(data).hexdigest()
            say({"acknowledged": len(acknowledged)})

        answer = self._each([f"{prefix}/{number:02}" for number in range(count)], one, "written", threads=8)
        return {**answer, "written": acknowledged}

    def heal(self, bucket: str, prefix: str = "", deep: bool = False, dry: bool = False) -> dict[str, Any]:
        """Heal, as this node's member sees it: {"found": {states of a drive's shards: objects}, "left": {…}}."""
        path = f"heal/{bucket}/{prefix}"
        settings = {"recursive": True, "dryRun": dry, "scanMode": 2 if deep else 1}
        token = self._admin(path, "forceStart=true", json.dumps(settings))["clientToken"]
        found: Counter[str] = Counter()
        left: Counter[str] = Counter()
        while True:
            status = self._admin(path, f"clientToken={quote(token, safe='')}")
            for item in status.get("Items") or []:
                found[_states(item["before"])] += 1
                left[_states(item["after"])] += 1
            if status["Summary"] in ("finished", "stopped"):
                return {"found": dict(found), "left": dict(left), "summary": status["Summary"]}
            time.sleep(0.1)

    def _admin(self, path: str, query: str, body: str = "") -> Any:
        url = f"https://{self.address}:{API_PORT}/minio/admin/v3/{path}?{query}"
        hashed = {"X-Amz-Content-SHA256": hashlib.sha256(body.encode()).hexdigest()}
        request = AWSRequest("POST", url, headers=hashed, data=body.encode())
        S3SigV4Auth(Credentials(ACCESS_KEY, self.secret), "s3", REGION).add_auth(request)
        answer = self.http.request("POST", url, body=body.encode(), headers=dict(request.headers))
        if answer.status != 200:
            raise HTTPError(f"{answer.status}: {answer.data!r}")
        return json.loads(answer.data)

    def _put(self, bucket: str, name: str, size: int) -> None:
        self.s3.put_object(Bucket=bucket, Key=name, Body=content(name, size))

    def _get(self, bucket: str, name: str) -> str:
        seen = hashlib.sha256()
        with closing(self.s3.get_object(Bucket=bucket, Key=name)["Body"]) as body:
            for piece in body.iter_chunks(CHUNK):
                seen.update(piece)
        return seen.hexdigest()

    @staticmethod
    def _each(names: list[str], act: Callable[[str], None], done: str, threads: int) -> dict[str, Any]:
        failed: dict[str, str] = {}
        seconds: list[float] = []

        def one(name: str) -> bool:
            started = time.monotonic()
            try:
                act(name)
            except FAILURES as error:
                failed[name] = failure(error)
            seconds.append(time.monotonic() - started)
            return name not in failed

        with ThreadPoolExecutor(threads) as pool:
            successes = list(pool.map(one, names))
        worked = [name for name, success in zip(names, successes, strict=True) if success]
        return {done: worked, "failed": failed, "slowest_s": round(max(seconds, default=0.0), 1)}


def main(address: str, root: str) -> None:
    """Take orders until the input ends."""
    worker = Worker(address, root, sys.stdin.readline().strip())
    say({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        act: Callable[..., dict[str, Any]] = getattr(worker, order.pop("do"))
        try:
            say(act(**order))
        except FAILURES as error:
            say({"error": failure(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
