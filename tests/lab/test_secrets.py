"""Every secret of the lab is rotated, and then searched for everywhere: outputs, files, process lists, audit logs."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import pytest

from tests.lab.bao import Bao, BaoError
from tests.lab.commands import ADDRESS, LIMIT_S, ROOT, on, settled, unterbau
from unterbau.lab.layout import Lab
from unterbau.secrets.store import Store

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("whole_site")]

SERVERS = ("srv-1", "srv-2", "srv-3")
ROTATED = (
    "demo/api-key", "k3s/agent-token", "k3s/token", "pki/root", "postgresql/openbao", "s3/backup-writer", "s3/etcd",
    "vault/deployers", "vault/seal-key",
)  # fmt: skip
# On the disk for root alone; what systemd hands to the service lies in memory, for the service alone.
KEPT = re.compile(
    r"/etc/openbao/seal/seal-\d+\.key|/run/credentials/openbao\.service/seal-\d+"
    r"|(/etc/minio|/run/credentials/minio\.service)/(root-password|kms-key)"
    r"|/etc/rancher/k3s/config\.yaml|/var/lib/rancher/k3s/server/((agent-|node-)?token|cred/passwd)"
    r"|(/run/k3s/containerd|/var/lib/rancher/k3s/agent/containerd)/.*"  # what a pod's program is started with
)
TOKEN = re.compile(r"\b(?:hv)?[sbr]\.[A-Za-z0-9_-]{24,}\b")  # as OpenBao writes them
PLANS, NOT_AGREED = 3, 3
# The watch over all processes takes whatever processor it can get: the run itself comes before it.
FIRST = ["nice", "-n", "-15"]
LOUD = [*FIRST, sys.executable, "-m", "pyinfra", "-vvv", "--debug", "--diff"]


def needles(lab: Lab) -> set[str]:
    """What no place may show: every version of every secret, the lines of keys, and other spellings of raw bytes."""
    found: set[str] = set()
    for versions in Store(lab.store, lab.identity).read().secrets.values():
        for version in versions:
            private, _, _ = version.value.partition("-----END PRIVATE KEY-----")
            body = private.removeprefix("-----BEGIN PRIVATE KEY-----").split()
            found |= set(body) if len(body) > 1 else {version.value}
            if re.fullmatch(r"[A-Za-z0-9+/]{43}=", version.value):
                found.add(base64.b64decode(version.value).hex())
    return {needle for needle in found if len(needle) >= 16}


class Processes:
    """What every process is called with, and its environment, while the block runs; the machines' are seen here."""

    def __enter__(self) -> Processes:
        self._stop, self.seen = threading.Event(), set[bytes]()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        called: dict[Path, bytes] = {}
        while not self._stop.wait(0.03):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    now = (process / "cmdline").read_bytes()
                    if called.get(process) != now:  # another process, or another program in it
                        self.seen |= {now, (process / "environ").read_bytes()}
                        called[process] = now


def everything_said(tmp_path: Path) -> str:
    """All that is said while every secret changes and is brought to everybody who needs it."""
    said = [unterbau("secrets", "rotate", name, "--env", "lab") for name in ROTATED]
    agreed = tmp_path / "plan.json"
    assert [ran.returncode for ran in said] == [0] * len(ROTATED), [ran.stderr for ran in said]
    for _ in range(
        PLANS
    ):  # Vault may have chosen another leader since the plan, on a busy machine: then it is another plan
        planned = [unterbau("plan", "lab"), unterbau("plan", "lab", "--json", "-o", str(agreed))]
        assert [ran.returncode for ran in planned] == [2, 2], [ran.stderr for ran in planned]
        applied = unterbau("apply", str(agreed))
        said += [*planned, applied]
        if applied.returncode != NOT_AGREED:
            break
    assert applied.returncode == 0, applied.stdout + applied.stderr
    for arguments in (
        ["secrets", "list", "--env", "lab"],
        ["secrets", "list", "--env", "lab", "--json"],
        ["vault", "status", "lab", "--json"],
        ["storage", "status", "lab", "--json"],
        ["plan", "lab"],
    ):
        ran = unterbau(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        said.append(ran)
    return "\n".join([ran.stdout + ran.stderr for ran in said] + [agreed.read_text()])


def plain_pyinfra() -> str:
    """Plain pyinfra at its loudest, with something to do for every layer that uses a secret."""
    on("wrk-1", 'su postgres -c "psql -qc \\"ALTER ROLE openbao PASSWORD \'drift\'\\""')
    on("srv-3", "chmod 644 /etc/unterbau/pki/openbao.pem")
    texts = []
    for last in ("--dry", "-y"):
        ran = subprocess.run(
            [*LOUD, last, "inventories/lab.py", "deploys/site.py"],
            cwd=ROOT, text=True, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, "\n".join(line for line in ran.stderr.splitlines() if "rror" in line)[:6000]
        texts += [ran.stdout, ran.stderr]
    return "\n".join(texts)


def found_on(node: str, secrets: set[str]) -> set[str]:
    """Files of the node in which a secret stands."""
    where = "/etc /var /root /home /tmp /run /usr/local /opt /srv /mnt /dev/shm"
    patterns = "\\n".join(sorted(secrets))
    # The patterns come on standard input, and the search is not among what it searches.
    command = f"grep -rlsF --exclude-dir=secret-search -f - {where}; test $? -le 2"
    ran = subprocess.run(
        [sys.executable, "-m", "unterbau", "lab", "shell", node, "--", "sh", "-c", command],
        cwd=ROOT, text=True, capture_output=True, timeout=LIMIT_S, check=False,
        input=patterns.replace("\\n", "\n") + "\n",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.splitlines())


def test_every_secret_is_rotated_in_one_run_and_stands_nowhere_but_where_it_belongs(lab: Lab, tmp_path: Path) -> None:
    bao = Bao(lab)
    before = {name: bao.secret(name) for name in ROTATED}
    with Processes() as processes:
        said = everything_said(tmp_path) + plain_pyinfra()
    secrets = needles(lab)
    assert len(secrets) > 2 * len(ROTATED)
    assert all(bao.secret(name) != value for name, value in before.items())
    assert [needle for needle in secrets if needle in said] == []
    assert TOKEN.findall(said) == []
    argv = b"\0".join(processes.seen)
    assert b"/usr/sbin/haproxy" in argv  # of the machines, too
    assert [needle for needle in secrets if needle.encode() in argv] == []
    found = {node: {path for path in found_on(node, secrets) if not KEPT.fullmatch(path)} for node in ADDRESS}
    assert {node: paths for node, paths in found.items() if paths} == {}
    here = ["grep", "-rlsF", "-f", "-", "--exclude-dir=.venv", "--exclude-dir=.git", "/tmp", str(ROOT)]
    ran = subprocess.run(here, text=True, capture_output=True, input="\n".join(secrets), check=False)
    assert ran.stdout == ""


def test_the_consumers_work_with_the_new_values(lab: Lab) -> None:
    bao = Bao(lab)
    token = bao.deploy_token("srv-1")  # signed by the newest of the deployers' authorities
    metadata = bao.call("srv-1", "GET", "kv/metadata/demo/api", token=token)["data"]
    versions = len(Store(lab.store, lab.identity).read().secrets["demo/api-key"])
    assert int(metadata["current_version"]) >= versions
    settled()


def test_keys_on_the_nodes_are_readable_by_nobody_else() -> None:
    files = "/etc/openbao/seal/* /etc/unterbau/pki/openbao.pem /run/credentials/openbao.service/*"
    for node in SERVERS:
        modes = on(node, f"stat -c '%a %U %n' {files}").splitlines()
        assert len(modes) >= 3
        assert [line for line in modes if line.split()[0] not in {"400", "600"}] == []
        assert [line for line in modes if line.split()[1] not in {"root", "openbao"}] == []


def test_the_audit_log_has_hashes_only(lab: Lab) -> None:
    """A value that was just written is in every member's log of requests as an HMAC, and nowhere as itself."""
    bao, value = Bao(lab), f"value-{token_hex(10)}"
    leader = bao.leader()
    assert leader is not None
    token = bao.deploy_token(leader)
    bao.call(leader, "POST", "kv/data/demo/audited", {"data": {"text": value}}, token=token)
    for path in ("/mnt/audit-1/openbao/audit.log", "/mnt/audit-2/openbao/audit.log"):
        lines = [line for line in on(leader, f"cat {path}").splitlines() if "kv/data/demo/audited" in line]
        assert lines, path
        assert all("hmac-sha256:" in line for line in lines)
        assert [line for line in lines if value in line or token in line] == []
        assert on(leader, f"stat -c '%a %U' {path}").split() == ["600", "openbao"]
    with pytest.raises(BaoError):
        bao.call(leader, "GET", "kv/data/demo/audited", token=token)
