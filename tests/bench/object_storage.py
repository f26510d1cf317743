"""PUT and GET throughput of the lab's object storage, beside the raw XFS drive and one MinIO server with one drive.

`python -m tests.bench.object_storage`. Needs a converged lab. All run on one machine's processors, in turn.
"""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
import requests
from botocore.config import Config

from unterbau.artifacts import artifact
from unterbau.lab import machine
from unterbau.lab.layout import lab_from
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import Store

ROUNDS, OBJECTS, SIZE_MIB, THREADS = 3, 12, 8, 4
BUCKET, SINGLE_PORT, READY_S = "bench", 9100, 30
UNIT, DATA_FOLDER, OWN = "bench-single", "/mnt/drive-1/bench-single", "/run/bench-single"
DATA = os.urandom(SIZE_MIB * 2**20)
NAMES = [f"{number:02}" for number in range(OBJECTS)]

Rates = tuple[float, float]


class S3:
    """A bucket of its own at an endpoint; throughput in MiB/s."""

    def __init__(self, url: str, root: Path, key: str, secret: str) -> None:
        config = Config(
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        )
        self._s3 = boto3.client(
            "s3", endpoint_url=url, verify=str(root), region_name="us-east-1", config=config,
            aws_access_key_id=key, aws_secret_access_key=secret,
        )  # fmt: skip
        self._s3.create_bucket(Bucket=BUCKET)

    def rates(self) -> Rates:
        """PUT, GET."""
        return (
            rate(lambda name: self._s3.put_object(Bucket=BUCKET, Key=name, Body=DATA)),
            rate(lambda name: self._s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()),
        )

    def close(self) -> None:
        """Leave nothing behind."""
        for name in NAMES:
            self._s3.delete_object(Bucket=BUCKET, Key=name)
        self._s3.delete_bucket(Bucket=BUCKET)


def rate(act: Callable[[str], object]) -> float:
    """MiB/s of all objects, four at a time."""
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(act, NAMES))
    return OBJECTS * SIZE_MIB / (time.perf_counter() - started)


def raw(folder: Path) -> Rates:
    """Files on the drive: written and synced; read with nothing of them in memory."""

    def write(name: str) -> None:
        with (folder / name).open("wb") as file:
            file.write(DATA)
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    return rate(write), rate(lambda name: (folder / name).read_bytes())


@contextmanager
def single_server(leader: int, node: str, address: str) -> Iterator[None]:
    """One MinIO with one folder of the machine's drive, as a unit there, with its certificate; gone afterwards."""
    inside, minio = Path(f"/proc/{leader}/root"), artifact("minio")
    (inside / OWN[1:]).mkdir(mode=0o700, exist_ok=True)
    (inside / OWN[1:] / "password").write_text(secrets.token_hex(20))
    variables = {
        "MINIO_ROOT_USER": "bench",
        "MINIO_ROOT_PASSWORD_FILE": f"{OWN}/password",
        "MINIO_BROWSER": "off",
        "HOME": OWN,
    }
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={UNIT}",
        *(f"--setenv={k}={v}" for k, v in variables.items()),
    ]
    command += [f"/opt/unterbau/minio/{minio.version}-{minio.sha256[:12]}/minio", "server", "--quiet"]
    on(node, *command, "--address", f"{address}:{SINGLE_PORT}", "--certs-dir", "/run/minio/certs", DATA_FOLDER)
    try:
        yield
    finally:
        on(node, "systemctl", "stop", UNIT)
        for folder in (DATA_FOLDER, OWN):
            shutil.rmtree(inside / folder[1:], ignore_errors=True)


def on(node: str, *command: str) -> None:
    """A command on a machine of the lab."""
    subprocess.run([sys.executable, "-m", "unterbau", "lab", "shell", node, "--", *command], check=True)


def until_ready(url: str, root: Path) -> None:
    """Until it answers; TimeoutError."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if requests.get(url, verify=str(root), timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {READY_S} s")


def measure(leader: int) -> None:
    """In the first machine's network."""
    lab = lab_from(dict(os.environ))
    inside, address = Path(f"/proc/{leader}/root"), str(lab.machines[0].address)
    store, folder = Store(lab.store, lab.identity), inside / "mnt/drive-1/bench-raw"
    with tempfile.TemporaryDirectory() as own:
        root = Path(own) / "root.pem"
        root.write_text(pki.root_certificate(Hidden(store.version("pki/root").value)))
        until_ready(f"https://{address}:{SINGLE_PORT}/minio/health/ready", root)
        password = (inside / OWN[1:] / "password").read_text()
        single = S3(f"https://{address}:{SINGLE_PORT}", root, "bench", password)
        cluster = S3(f"https://{address}:9443", root, "unterbau", store.version("storage/root").value)
        folder.mkdir(exist_ok=True)
        try:
            found = [(raw(folder), single.rates(), cluster.rates()) for _ in range(ROUNDS)]
        finally:
            shutil.rmtree(folder)
            cluster.close()
    say([[statistics.median(column) for column in zip(*rates, strict=True)] for rates in zip(*found, strict=True)])


def say(medians: list[list[float]]) -> None:
    """One line each, with the ratio to the drive."""
    names = ("XFS drive, written and synced", "one MinIO server, one drive", "five servers, EC:2, by the gateway")
    for name, (put, get) in zip(names, medians, strict=True):
        ratios = f"{put / medians[0][0]:.2f} and {get / medians[0][1]:.2f} of the drive"
        sys.stdout.write(f"{name:36} PUT {put:6.0f} MiB/s  GET {get:6.0f} MiB/s  {ratios}\n")
    sys.stdout.write(f"medians of {ROUNDS} rounds in turn, {OBJECTS} objects of {SIZE_MIB} MiB, {THREADS} at a time\n")


def main(arguments: list[str]) -> None:
    """Measure there, for whoever calls."""
    if arguments:
        return measure(int(arguments[0]))
    lab = lab_from(dict(os.environ))
    first = lab.machines[0]
    leader = machine.leader(lab, first)
    if leader is None:
        sys.exit("cannot measure: the lab is down; run `make lab` first")
    enter = ["nsenter", "--target", str(leader), "--net", "--", sys.executable, "-m", "tests.bench.object_storage"]
    with single_server(leader, first.name, str(first.address)):
        code = subprocess.run([*enter, str(leader)], check=False).returncode
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
