"""The snapshot drill: what a snapshot holds is there again on fresh machines, and what came after it is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bao import Bao, BaoError, eventually
from tests.lab.checkouts import checkout_for
from tests.lab.commands import ROOT, unterbau
from tests.lab.conftest import LabCommand

pytestmark = pytest.mark.lab

LIMIT_S = 180


@pytest.fixture
def checkout(spare: LabCommand, tmp_path: Path) -> Iterator[Path]:
    """A checkout whose environment `lab` is the spare lab, converged from nothing; without object storage."""
    spare.must("down")
    spare.must("up")
    root = checkout_for(spare.lab, tmp_path, ROOT, k3s=False, storage=False)
    converge(root)
    yield root
    spare.must("down")


def converge(root: Path) -> None:
    ran = unterbau("apply", "lab", "-y", cwd=root)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]


def leading(bao: Bao) -> str:
    """The member that leads, as soon as one does."""
    found: list[str | None] = []
    eventually(lambda: found.append(bao.leader()) or found[-1] is not None, LIMIT_S)
    return str(found[-1])


def write(bao: Bao, name: str) -> None:
    node = leading(bao)
    bao.call(node, "POST", f"kv/data/demo/{name}", {"data": {"text": name}}, token=bao.deploy_token(node))


def there(bao: Bao) -> set[str]:
    """Names of the entries, read through any member."""
    node = leading(bao)
    answer = bao.call(node, "GET", "kv/metadata/demo?list=true", token=bao.deploy_token(node))
    return set(answer["data"]["keys"])


def test_a_snapshot_is_restored_on_fresh_machines(spare: LabCommand, checkout: Path, tmp_path: Path) -> None:
    bao = Bao(spare.lab)
    snapshot = tmp_path / "vault.snap"
    write(bao, "a")
    taken = unterbau("vault", "snapshot", "-o", str(snapshot), "--env", "lab", cwd=checkout)
    assert taken.returncode == 0, taken.stderr
    assert [path.stat().st_mode & 0o777 for path in (snapshot, Path(f"{snapshot}.json"))] == [0o600, 0o600]
    write(bao, "b")
    assert there(bao) >= {"a", "b"}
    leader = leading(bao)
    old = bao.call(leader, "GET", "sys/health")["cluster_id"]

    kept = tmp_path / "secrets"
    shutil.copytree(spare.lab.store.parent, kept)  # what an operator keeps: the store and the snapshot
    spare.must("down")
    spare.lab.state.mkdir(parents=True)
    shutil.copytree(kept, spare.lab.store.parent)
    spare.must("up")
    converge(checkout)
    leader = leading(bao)
    assert bao.call(leader, "GET", "sys/health")["cluster_id"] != old
    assert there(bao) == {"api"}

    damaged = tmp_path / "damaged.snap"
    damaged.write_bytes(snapshot.read_bytes()[:-100])
    shutil.copy(f"{snapshot}.json", f"{damaged}.json")
    refused = unterbau("vault", "restore", str(damaged), "-y", "--env", "lab", cwd=checkout)
    assert (refused.returncode, "its SHA-256 is" in refused.stderr) == (1, True)
    assert there(bao) == {"api"}

    restored = unterbau("vault", "restore", str(snapshot), "-y", "--env", "lab", cwd=checkout)
    assert restored.returncode == 0, restored.stderr
    eventually(lambda: there(bao) >= {"a", "api"}, LIMIT_S)
    assert "b" not in there(bao)
    leader = leading(bao)
    assert bao.call(leader, "GET", "sys/health")["cluster_id"] == old
    converge(checkout)
    plan = unterbau("plan", "lab", "--json", cwd=checkout)
    assert (plan.returncode, json.loads(plan.stdout)["changes"]) == (0, [])

    token = bao.deploy_token(leader)
    with pytest.raises(BaoError):
        bao.call(leader, "GET", "kv/metadata/demo/b", token=token)
