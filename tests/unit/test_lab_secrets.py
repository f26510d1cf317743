"""The lab's store: made with the lab, and never made anew where machines may live by the one that is lost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unterbau.lab import secrets
from unterbau.lab.errors import LabError


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    return SimpleNamespace(store=tmp_path / "secrets" / "store.age", identity=tmp_path / "secrets" / "identity.txt")


def test_it_is_made_once(lab: Any) -> None:
    assert secrets.ensure(lab)
    before = lab.store.read_bytes(), lab.identity.read_bytes()
    assert not secrets.ensure(lab)
    assert (lab.store.read_bytes(), lab.identity.read_bytes()) == before


@pytest.mark.parametrize("lost", [("store",), ("identity",), ("store", "identity")])
def test_what_is_lost_is_not_made_anew(lab: Any, lost: tuple[str, ...]) -> None:
    secrets.ensure(lab)
    for name in lost:
        getattr(lab, name).unlink()
    with pytest.raises(LabError, match="put it back"):
        secrets.ensure(lab)
    assert [name for name in lost if getattr(lab, name).exists()] == []
