"""Container images without a registry and without a builder: one static program under many names, as an OCI layout.

The same program gives the same file, to the byte: no time, no owner, no compression, keys in order. It is what
`ctr images import` and K3s' folder for images take. Source: OCI image specification 1.1, image-layout.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence

# What a pod of a test or a check needs, of the some 260 that busybox has.
_NAMES = (
    "awk", "base64", "basename", "cat", "chmod", "cp", "cut", "date", "dd", "df", "dirname", "du", "echo",
    "env", "expr", "false", "find", "free", "grep", "head", "hostname", "httpd", "id", "ip", "kill", "ln", "ls",
    "md5sum", "mkdir", "mount", "mv", "nc", "netstat", "nproc", "nslookup", "od", "ping", "printf", "ps", "pwd",
    "readlink", "rm", "sed", "seq", "sh", "sha256sum", "sleep", "sort", "stat", "sync", "tail", "tar", "tee",
    "test", "timeout", "top", "touch", "tr", "traceroute", "true", "uname", "uniq", "uptime", "vi", "wc",
    "wget", "whoami", "xargs", "yes",
)  # fmt: skip
_ACCOUNTS = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUPS = "root:x:0:\nnogroup:x:65534:\n"
_OCI = "application/vnd.oci.image"
_ARCHITECTURES = ("amd64", "arm64")


def archive(program: bytes, images: Mapping[str, Sequence[str]], architecture: str) -> bytes:
    """A tar file with these images: {name with its tag: command that a container runs if it is told no other}.

    program: a static busybox. All images share their one layer; none runs as root unless a pod asks for it.
    """
    if architecture not in _ARCHITECTURES:
        raise ValueError(f"cannot make an image for {architecture!r}: known are {', '.join(_ARCHITECTURES)}")
    layer = _layer(program)
    blobs, listed = {_digest(layer): layer}, []
    for name, command in sorted(images.items()):
        config = _json(_config(layer, command, architecture))
        manifest = _json(_manifest(config, layer))
        blobs |= {_digest(config): config, _digest(manifest): manifest}
        listed.append({**_about("manifest.v1+json", manifest), "annotations": _named(name)})
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": listed}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    files |= {f"blobs/sha256/{digest}": blob for digest, blob in sorted(blobs.items())}
    return _tar(_file(name, data, 0o644) for name, data in files.items())


def _layer(program: bytes) -> bytes:
    return _tar(_root(program))


def _root(program: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for folder, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
        entry = _entry(folder, mode)
        entry.type = tarfile.DIRTYPE
        yield entry, b""
    yield _file("bin/busybox", program, 0o755)
    for name in _NAMES:
        entry = _entry(f"bin/{name}", 0o777)
        entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
        yield entry, b""
    yield _file("etc/passwd", _ACCOUNTS.encode(), 0o644)
    yield _file("etc/group", _GROUPS.encode(), 0o644)


def _config(layer: bytes, command: Sequence[str], architecture: str) -> dict[str, object]:
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": list(command), "Env": ["PATH=/bin"], "User": "65534:65534", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
    }


def _manifest(config: bytes, layer: bytes) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _about("config.v1+json", config),
        "layers": [_about("layer.v1.tar", layer)],
    }


def _about(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{_digest(data)}", "size": len(data)}


def _named(name: str) -> dict[str, str]:
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _tar(entries: Iterator[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as opened:
        for entry, data in entries:
            opened.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _file(name: str, data: bytes, mode: int) -> tuple[tarfile.TarInfo, bytes]:
    entry = _entry(name, mode)
    entry.size = len(data)
    return entry, data


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)  # of nobody in particular, of no time: both are zero
    entry.mode = mode
    return entry
