"""MinIO: the state of the cluster, and healing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.s3_minio_admin import Admin
from unterbau.domain.erasure import ErasureSet

NORMAL, DEEP = 1, 2  # madmin's HealScanMode: whether there is a shard; whether each byte of it is right
WELL = "ok"  # of a drive; every other state is a problem, also "unknown (why)": of those MinIO heals none


class State(Admin):
    """See the module."""

    def cluster(self) -> dict[str, Any]:
        """The cluster as facts have it. `usage` is what the scanner counted last, minutes or hours ago.

        {versions, parity, read_quorum, write_quorum, usage, sets: {"pool/set": {drives, online, healing, read_quorum,
        write_quorum}}, nodes: {name: {state, version, misses, drives: {path: {state, healing, pool, set, total_bytes,
        used_bytes}}}}}

        `misses` are the servers that this one does not reach by the names in its configuration.
        """
        found = self.get("info", voted=False)
        names = self.client.way.names
        nodes = {_node(server, names): _server(server, names) for server in found["servers"]}
        parity = found["backend"]["standardSCParity"]
        sets = _sets(found["backend"], parity, nodes)
        return {
            "versions": sorted({node["version"] for node in nodes.values() if node["version"]}),
            "parity": parity,
            "read_quorum": max(one["read_quorum"] for one in sets.values()),
            "write_quorum": max(one["write_quorum"] for one in sets.values()),
            "usage": {
                "buckets": found.get("buckets", {}).get("count", 0),
                "objects": found.get("objects", {}).get("count", 0),
                "bytes": found.get("usage", {}).get("size", 0),
            },
            "sets": sets,
            "nodes": nodes,
        }

    def heal_start(self, bucket: str = "", prefix: str = "", deep: bool = False) -> dict[str, str]:
        """{token, started_at} of a heal of these keys, or of all; of the one that runs there already, if one does."""
        if prefix and not bucket:
            raise EndpointError(f"cannot heal {prefix!r}: found a prefix without its bucket; name both")
        if bucket:
            self.client.call("head_bucket", {"Bucket": bucket})  # MinIO would begin, and end with its own inner words
        path = f"{bucket}/{prefix}" if prefix else bucket
        body = {"recursive": True, "scanMode": DEEP if deep else NORMAL}
        answer = json.loads(self.send("POST", f"heal/{path}", body))
        return {"token": f"{answer['clientToken']}@{path}", "started_at": answer["startTime"]}

    def heal_status(self, token: str) -> dict[str, Any]:
        """How it goes on since the last time it was asked: {state, error, seen, problems: [{bucket, key, version,
        bytes, error, before, after}]}; before and after are {drive: state}.

        `state` is running, finished, stopped, or lost: the server that healed knows nothing of it any more. It calls
        that finished, but without a beginning. Source: MinIO, cmd/admin-heal-ops.go, PopHealStatusJSON.
        """
        identity, _, path = token.partition("@")
        answer = json.loads(self.send("POST", f"heal/{path}", clientToken=identity))
        items = [_item(one) for one in answer.get("Items") or answer.get("items") or ()]
        state, unknown = answer.get("Summary") or answer.get("summary"), answer["StartTime"].startswith("0001-")
        return {
            "state": "lost" if state == "finished" and unknown else state,
            "error": answer.get("Detail", ""),
            "seen": len(items),
            "problems": [one for one in items if _is_problem(one)],
        }


def _node(server: dict[str, Any], names: Mapping[str, str]) -> str:
    address = str(server["endpoint"]).rpartition(":")[0].strip("[]") or str(server["endpoint"])
    return names.get(address, address)


def _server(server: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    seen = {_node({"endpoint": endpoint}, names): state for endpoint, state in (server.get("network") or {}).items()}
    return {
        "state": server.get("state", "unknown"),
        "version": server.get("version", ""),
        "misses": sorted(name for name, state in seen.items() if state != "online"),
        "drives": {_path(drive): _drive(drive) for drive in server.get("drives") or ()},
    }


def _path(drive: dict[str, Any]) -> str:
    """A drive that is offline is told by its URL only."""
    return str(drive.get("path") or urlsplit(drive["endpoint"]).path)


def _drive(drive: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": drive.get("state", "unknown"),
        "healing": bool(drive.get("healing")),
        "pool": drive.get("pool_index", -1),
        "set": drive.get("set_index", -1),
        "total_bytes": drive.get("totalspace", 0),
        "used_bytes": drive.get("usedspace", 0),
    }


def _sets(backend: dict[str, Any], parity: int, nodes: dict[str, Any]) -> dict[str, dict[str, int]]:
    drives = [drive for node in nodes.values() for drive in node["drives"].values()]
    online = Counter((drive["pool"], drive["set"]) for drive in drives if drive["state"] == "ok")
    healing = Counter((drive["pool"], drive["set"]) for drive in drives if drive["healing"])
    found = {}
    for pool, (count, size) in enumerate(zip(backend["totalSets"], backend["totalDrivesPerSet"], strict=True)):
        rule = ErasureSet(("",) * size, parity)
        for number in range(count):
            found[f"{pool}/{number}"] = {
                "drives": size,
                "online": online[pool, number],
                "healing": healing[pool, number],
                "read_quorum": rule.read_quorum,
                "write_quorum": rule.write_quorum,
            }
    return found


def _is_problem(item: dict[str, Any]) -> bool:
    return bool(item["error"] or {*item["before"].values(), *item["after"].values()} - {WELL})


def _item(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "bucket": item.get("bucket", ""),
        "key": item.get("object", ""),
        "version": item.get("versionId", ""),
        "bytes": item.get("objectSize", 0),
        "error": item.get("detail", ""),
        **{when: {one["endpoint"]: one["state"] for one in item[when]["drives"] or ()} for when in ("before", "after")},
    }
