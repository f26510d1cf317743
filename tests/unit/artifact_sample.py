"""A small artifact, the archives that hold it, a server on loopback that gives them away, and what is got."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from unterbau.artifacts import Artifact
from unterbau.artifacts.obtain import Attempt, obtain
from unterbau.artifacts.source import Source
from unterbau.artifacts.store import Staged

BINARY = b"#!/bin/sh\necho tool 1.2.3\n" + bytes(range(256)) * 1000
MEMBER = "tool-1.2.3/bin/tool"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tool(*sources: Source, data: bytes = BINARY) -> Artifact:
    return Artifact("tool", "1.2.3", sha256(data), len(data), "amd64", sources)


def as_gz(data: bytes = BINARY) -> bytes:
    return gzip.compress(data, mtime=0)


def as_zip(data: bytes = BINARY, member: str = MEMBER) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README", "not this one")
        archive.writestr(member, data)
    return out.getvalue()


def as_tar_gz(data: bytes = BINARY, member: str = MEMBER) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"./{member}")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("latest")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


@dataclass
class Server:
    """Answers by path: bytes, or a status; `cut` ones end early, `held` ones wait in the middle until released."""

    url: str = ""
    answers: dict[str, bytes | int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    under_way: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            answer = found.answers.get(self.path, 404)
            if isinstance(answer, int):
                return self.send_error(answer)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            half = len(answer) // 2
            self.wfile.write(answer[:half])
            if self.path in found.cut:
                return None
            if self.path in found.held:
                self.wfile.flush()
                found.under_way.set()
                found.released.wait(60)
            self.wfile.write(answer[half:])

        def log_message(self, *arguments: Any) -> None: ...

        def handle_error(self) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that was killed
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def obtained(source: Source, work: Path, limit_bytes: int = len(BINARY)) -> bytes:
    """What this source gives for `tool`."""
    staged = Staged(work / "binary", limit_bytes)
    try:
        obtain(source, Attempt(tool(source), staged, work))
    finally:
        staged.close()
    return (work / "binary").read_bytes()


def program(folder: Path, name: str, text: str) -> None:
    """A shell script under this name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def make_wheel(path: Path, members: Mapping[str, bytes]) -> None:
    """A wheel that pip believes in, of the package, version and tag that its name says; its members are programs."""
    package, version, *tag = path.stem.split("-")
    info = f"{package}-{version}.dist-info"
    said = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nRequires-Python: >=3.11\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {'-'.join(tag)}\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in {**members, **said}.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if name in members else 0o100644) << 16
            wheel.writestr(entry, data)
