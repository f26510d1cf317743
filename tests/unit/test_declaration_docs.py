"""docs/declarations.md says what is true now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unterbau import declaration
from unterbau.declaration import load
from unterbau.declaration.base import Declaration
from unterbau.declaration.reference import BEGIN, END, PAGE, TYPES, page, tables

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / PAGE).read_text()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+ClvZzC7vKi/ZHHZkAZ5jxRpMxgyKFD1SMe9J+pL/B"


def test_the_tables_are_those_of_the_types() -> None:
    assert BEGIN in TEXT
    assert END in TEXT
    assert page(TEXT) == TEXT, "run: python -m unterbau.declaration.reference"


def test_every_type_and_field_is_described() -> None:
    exported = {kind for kind in vars(declaration).values() if isinstance(kind, type) and issubclass(kind, Declaration)}
    assert {kind for _, kind in TYPES} == exported
    for kind in exported:
        assert all(field.description for field in kind.model_fields.values()), kind
    assert len(re.findall(r"^\| `", tables(), re.MULTILINE)) == sum(len(kind.model_fields) for kind in exported)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """The page's example, written out as the reader would."""
    inventory, data = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[:2]
    (tmp_path / "inventories").mkdir()
    (tmp_path / "group_data").mkdir()
    (tmp_path / "inventories" / "production.py").write_text(re.sub("(?m)^   ", "", inventory))
    text = re.sub("(?m)^   ", "", data).replace("ssh-ed25519 AAAA…", KEY)
    (tmp_path / "group_data" / "production.py").write_text(text)
    (tmp_path / "group_data" / "all.py").write_text((ROOT / "group_data" / "all.py").read_text())
    return tmp_path


def test_the_example_of_an_environment_is_valid(described: Path) -> None:
    production = load("production", described)
    assert production.groups["workers"] == ("wrk-1",)
    assert production.data["wrk-1"]["network"].domain == "production.internal"
