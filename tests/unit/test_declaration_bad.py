"""Bad declarations as data: tests/bad/*.yaml edits the good environment in tests/bad/base and lists every problem.

`base: vault` lays tests/bad/base_vault over it first: endpoints, secrets, everything that is kept in Vault; `base:
storage` in the same way five nodes with object storage, buckets and their users, and `base: k3s` a cluster with objects
in it and a bucket for its snapshots; `base: cloud` a project of Hetzner Cloud with pools beside the nodes.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from unterbau.declaration import DeclarationError, Environment, load

BAD = Path(__file__).parent.parent / "bad"
CASES = sorted(BAD.glob("*.yaml"))


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("a connection was made while declarations were read")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BAD / "base", tmp_path / "base"))


def edit(root: Path, told: dict[str, Any]) -> None:
    """Each edit must find its text: a case that no longer breaks anything is an error of the test."""
    if "base" in told:
        shutil.copytree(BAD / f"base_{told['base']}", root, dirs_exist_ok=True)
    for change in told["edits"]:
        path = root / change["file"]
        text = path.read_text() if "replace" in change else ""
        assert change.get("replace", "") in text, f"{change['file']} has no {change['replace']!r}"
        path.write_text(text.replace(change["replace"], change["with"]) if "replace" in change else change["with"])


def problems_of(root: Path) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        load("demo", root)
    *lines, count = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    assert count.startswith(f"cannot use environment demo: {len(lines)} problem")
    return lines


def test_the_base_is_good(base: Path) -> None:
    environment = load("demo", base)
    assert isinstance(environment, Environment)
    assert [node.name for node in environment.nodes] == ["srv-1", "srv-2", "srv-3", "wrk-1"]


def test_the_base_with_vault_is_good_too(base: Path) -> None:
    edit(base, {"base": "vault", "edits": []})
    assert [type(one).__name__ for one in load("demo", base).endpoints] == ["SecretStore", "VaultEndpoint"]


def test_the_base_with_storage_is_good_too(base: Path) -> None:
    edit(base, {"base": "storage", "edits": []})
    assert [type(one).__name__ for one in load("demo", base).endpoints] == ["SecretStore", "S3Endpoint"]


def test_the_base_with_k3s_is_good_too(base: Path) -> None:
    edit(base, {"base": "k3s", "edits": []})
    kinds = ["SecretStore", "S3Endpoint", "KubernetesEndpoint"]
    assert [type(one).__name__ for one in load("demo", base).endpoints] == kinds


def test_the_base_with_a_cloud_is_good_too(base: Path) -> None:
    edit(base, {"base": "cloud", "edits": []})
    assert [type(one).__name__ for one in load("demo", base).endpoints] == ["SecretStore", "CloudProject"]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_problem_is_named(case: Path, base: Path) -> None:
    told = yaml.safe_load(case.read_text())
    edit(base, told)
    assert problems_of(base) == told["problems"]


def test_ten_bad_declarations_are_ten_problems() -> None:
    told = yaml.safe_load((BAD / "ten_at_once.yaml").read_text())
    assert len(told["problems"]) == len(told["edits"]) == 10


def test_the_report_is_stable(base: Path) -> None:
    edit(base, yaml.safe_load((BAD / "ten_at_once.yaml").read_text()))
    assert problems_of(base) == problems_of(base)


@pytest.mark.parametrize("secret", ["hunter2", "b3BlbnNzaC1rZXktdjEA", "AAAAC3NzaC1lZDI1NTE5AAAAID"])
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_no_report_repeats_a_secret_or_a_key(case: Path, base: Path, secret: str) -> None:
    edit(base, yaml.safe_load(case.read_text()))
    assert secret not in "\n".join(problems_of(base))
