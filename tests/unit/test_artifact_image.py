"""Images without a registry: what is in the tar file, read as a container runtime reads it."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from tests.unit.artifact_sample import sha256
from unterbau.artifacts.image import archive

PROGRAM = b"\x7fELF, as far as this test goes"
IMAGES = {"example.org/b:2": ["/bin/sh"], "example.org/a:1": ["/bin/sh", "-c", "sleep 9"]}


def members(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        found = [(one, opened.extractfile(one) if one.isfile() else None) for one in opened]
        return {one.name: (one, file.read() if file else b"") for one, file in found}


def blob(data: bytes, about: dict[str, Any]) -> bytes:
    found = members(data)[f"blobs/sha256/{about['digest'].removeprefix('sha256:')}"][1]
    assert (len(found), f"sha256:{sha256(found)}") == (about["size"], about["digest"])
    return found


def manifests(data: bytes) -> dict[str, dict[str, Any]]:
    listed = json.loads(members(data)["index.json"][1])["manifests"]
    return {one["annotations"]["io.containerd.image.name"]: json.loads(blob(data, one)) for one in listed}


def test_every_digest_and_size_fits_what_it_names() -> None:
    data = archive(PROGRAM, IMAGES, "amd64")
    assert list(manifests(data)) == ["example.org/a:1", "example.org/b:2"]
    for name, manifest in manifests(data).items():
        config = json.loads(blob(data, manifest["config"]))
        [layer] = [blob(data, one) for one in manifest["layers"]]
        assert config["rootfs"]["diff_ids"] == [f"sha256:{sha256(layer)}"]
        assert config["config"]["Entrypoint"] == IMAGES[name]
        assert (config["architecture"], config["config"]["User"]) == ("amd64", "65534:65534")


def test_the_program_is_there_under_its_names() -> None:
    data = archive(PROGRAM, IMAGES, "amd64")
    layer = members(blob(data, manifests(data)["example.org/a:1"]["layers"][0]))
    program, text = layer["bin/busybox"]
    assert (program.mode, text) == (0o755, PROGRAM)
    assert {layer[f"bin/{name}"][0].linkname for name in ("sh", "wget", "sleep")} == {"busybox"}
    assert layer["tmp"][0].mode == 0o1777


def test_the_same_program_makes_the_same_file_of_no_time_and_nobody() -> None:
    data = archive(PROGRAM, IMAGES, "amd64")
    assert archive(PROGRAM, dict(reversed(IMAGES.items())), "amd64") == data
    assert {(one.mtime, one.uid, one.gid, one.uname) for one, _ in members(data).values()} == {(0, 0, 0, "")}
    assert archive(PROGRAM + b"!", IMAGES, "amd64") != data


def test_an_architecture_that_no_runtime_would_take_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot make an image for 'i386': known are amd64, arm64"):
        archive(PROGRAM, IMAGES, "i386")
