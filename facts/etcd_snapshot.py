"""Snapshots of K3s' etcd: K3s' records of them, one file of them, and the token that is in use, by its hash."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.etcd import HASH_LENGTH, Snapshot
from unterbau.domain.unknown import UNKNOWN, Unknown

K3S = "/usr/local/bin/k3s"
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
SERVER = "/var/lib/rancher/k3s/server"
FOLDER = f"{SERVER}/db/snapshots"
TOKEN_HASH = "etcd.k3s.cattle.io/snapshot-token-hash"  # noqa: S105  # an annotation
REQUEST_TIMEOUT_S = 10
HASHED_TAIL_BYTES = 32  # etcd appends the SHA-256 of what comes before; pages are a multiple of 512 bytes
# What resource.Quantity writes for whole bytes. Source: k8s.io/apimachinery, pkg/api/resource.
SUFFIXES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


class Record(TypedDict):
    """One snapshot, in K3s' own words; see `unterbau.domain.etcd.Snapshot`."""

    name: str
    place: str  # the node that has the file, or "s3"
    location: str
    taken_at: str  # UTC, ISO 8601
    age_s: float
    size_bytes: int
    ready: bool
    token_hash: str | None
    error: str


class Snapshots(TypedDict):
    """What the cluster knows. `records` is None if this server's API does not answer: unknown is not none."""

    set_up: bool  # K3s has run here as a server
    answers: bool
    records: list[Record] | None  # newest first, those in S3 too
    token_hash: str | None  # of the server token in use on this node
    data_age_s: float | None  # how long the cluster has been there; None if its API does not tell
    last_error: str  # of the API, in its own words


class SnapshotFile(TypedDict):
    """A file on this node."""

    exists: bool
    size_bytes: int | None
    intact: bool | None  # what it says of itself is true; None if it says nothing
    token_hashes: list[str]  # tokens whose bootstrap data are in it; those replaced since may be among them


def records(items: Sequence[Mapping[str, Any]], now_s: float) -> list[Record]:
    """From ETCDSnapshotFile objects. A file and its copy in S3 are two; what only one of them says holds for both."""
    known = {
        str(item["spec"]["snapshotName"]): str(noted)
        for item in items
        if (noted := (item["metadata"].get("annotations") or {}).get(TOKEN_HASH))
    }
    found = [_record(item, now_s, known) for item in items]
    return sorted(found, key=lambda one: (one["age_s"], one["name"], one["place"]))


def _record(item: Mapping[str, Any], now_s: float, known: Mapping[str, str]) -> Record:
    spec, status = item["spec"], item.get("status") or {}
    error = status.get("error") or {}
    taken = datetime.fromisoformat(str(status.get("creationTime") or error["time"])).astimezone(UTC)
    name = str(spec["snapshotName"])
    return {
        "name": name,
        "place": "s3" if spec.get("s3") else str(spec["nodeName"]),
        "location": str(spec.get("location", "")),
        "taken_at": f"{taken:%Y-%m-%dT%H:%M:%SZ}",
        "age_s": max(0.0, now_s - taken.timestamp()),
        "size_bytes": _bytes(str(status.get("size", "0"))),
        "ready": bool(status.get("readyToUse", False)),
        "token_hash": known.get(name),
        "error": str(error.get("message", "")),
    }


def _bytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)([kMGT]i?|Ki)?", quantity)
    if found is None:
        raise ValueError(f"size {quantity!r}")
    return int(found[1]) * SUFFIXES[found[2] or ""]


def snapshot(record: Record) -> Snapshot:
    """The same, as the rules take it."""
    return Snapshot(**record)


class Kept(FactBase[Snapshots | Unknown]):
    """What snapshots there are, as this server's API tells, and what is needed to judge them."""

    @override
    @staticmethod
    def default() -> Snapshots | Unknown:
        return UNKNOWN

    @override
    def command(self, k3s: str = K3S) -> str:
        get = (
            f"{shlex.quote(k3s)} kubectl --kubeconfig {KUBECONFIG} --request-timeout {REQUEST_TIMEOUT_S}s "
            "get etcdsnapshotfiles.k3s.cattle.io -o json"
        )
        # A member may be younger than its cluster: a server that was made anew.
        born = (
            f"{shlex.quote(k3s)} kubectl --kubeconfig {KUBECONFIG} --request-timeout {REQUEST_TIMEOUT_S}s "
            "get namespace kube-system -o 'jsonpath={.metadata.creationTimestamp}'"
        )
        token = f"{SERVER}/token"
        # K10<CA>::server:<password> or the password alone; only the beginning of its hash leaves the node.
        digest = f"tr -d '[:space:]' < {token} | sed 's/^K10[0-9a-f]*::[^:]*://' | sha256sum | cut -c1-{HASH_LENGTH}"
        return (
            f"if ! test -e {KUBECONFIG}; then echo 'set_up=no'; else echo 'set_up=yes'; date +now=%s; "
            f"! test -e {token} || echo token=$({digest}); "
            f"! born=$({born} 2>/dev/null) || printf 'data=%s\\n' \"$born\"; "
            f'error=$(mktemp) && if said=$({get} 2>"$error"); then printf \'items=%s\\n\' "$said"; '
            'else sed -n \'1s/^/error=/p\' "$error"; fi; rm -f "$error"; fi'
        )

    @override
    def process(self, output: list[str]) -> Snapshots | Unknown:
        head = {name: value for name, _, value in (line.partition("=") for line in output[:6])}
        try:
            if head["set_up"] == "no":
                return {
                    "set_up": False, "answers": False, "records": None, "token_hash": None, "data_age_s": None,
                    "last_error": "",
                }  # fmt: skip
            now_s, since = float(head["now"]), head.get("data")
            start = next((number for number, line in enumerate(output) if line.startswith("items=")), None)
            items = None if start is None else json.loads("\n".join(output[start:]).removeprefix("items="))["items"]
            return {
                "set_up": True,
                "answers": items is not None,
                "records": None if items is None else records(items, now_s),
                "token_hash": head.get("token"),
                "data_age_s": now_s - datetime.fromisoformat(since).timestamp() if since else None,
                "last_error": head.get("error", ""),
            }
        except (KeyError, ValueError, TypeError) as error:
            raise FactProcessError(f"cannot read what snapshots there are: {error!r}; found {output[:3]}") from error


class File(FactBase[SnapshotFile | Unknown]):
    """The snapshot at `path`: whether it is whole, and under which tokens it was taken.

    K3s keeps the cluster's bootstrap data under /bootstrap/<hash of the token>. Source: k3s pkg/cluster/encrypt.go.
    """

    @override
    @staticmethod
    def default() -> SnapshotFile | Unknown:
        return UNKNOWN

    @override
    def command(self, path: str) -> str:
        file = shlex.quote(path)
        return (
            f"if ! test -f {file}; then echo 'size='; else "
            f"stat --printf='size=%s\\n' -- {file} && "
            f"echo said=$(tail -c {HASHED_TAIL_BYTES} -- {file} | od -An -v -tx1 | tr -d ' \\n') && "
            f"echo is=$(head -c -{HASHED_TAIL_BYTES} -- {file} | sha256sum | cut -d' ' -f1) && "
            f"{{ grep -aoE '/bootstrap/[0-9a-f]{{{HASH_LENGTH}}}' -- {file} || test $? -eq 1; }} | sort -u; fi"
        )

    @override
    def process(self, output: list[str]) -> SnapshotFile | Unknown:
        values = dict(line.split("=", 1) for line in output if "=" in line)
        if "size" not in values or (values["size"] and not {"said", "is"} <= values.keys()):
            raise FactProcessError(f"cannot read a snapshot: found {output[:3]}")
        if not values["size"]:
            return {"exists": False, "size_bytes": None, "intact": None, "token_hashes": []}
        size = int(values["size"])
        return {
            "exists": True,
            "size_bytes": size,
            "intact": values["said"] == values["is"] if size % 512 == HASHED_TAIL_BYTES else None,
            "token_hashes": [line.removeprefix("/bootstrap/") for line in output if line.startswith("/bootstrap/")],
        }
