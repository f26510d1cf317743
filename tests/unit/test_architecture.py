"""What the import contracts cannot say: imports of plain files, names of operations, cases for everything."""

import ast
import inspect
import sys
from importlib import import_module
from pathlib import Path

import pytest
from pyinfra.api import FactBase

import facts
import operations

ROOT = Path(__file__).parent.parent.parent
CASES = ROOT / "tests" / "cases"


def modules_of(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).glob("*.py") if path.stem != "__init__")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_operations_and_facts_are_those_of_this_checkout() -> None:
    assert Path(operations.__file__).parent == ROOT / "operations"
    assert Path(facts.__file__).parent == ROOT / "facts"


def test_domain_needs_the_standard_library_only() -> None:
    for path in modules_of("unterbau/domain"):
        roots = {name.split(".")[0] for name in imports_of(path)}
        foreign = {root for root in roots if root not in sys.stdlib_module_names}
        local = {name for name in imports_of(path) if name.startswith("unterbau.domain")}
        assert not foreign - ({"unterbau"} if local else set()), path


@pytest.mark.parametrize("folder", ["group_data", "inventories"])
def test_data_files_import_declarations_and_secrets_only(folder: str) -> None:
    for path in modules_of(folder):
        allowed = ("unterbau.declaration", "unterbau.secrets", "__future__", "ipaddress")
        assert all(name.startswith(allowed) for name in imports_of(path)), path


def operation_calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text())
    tools = {f.stem for f in modules_of("operations")} | {"apt", "files", "server", "systemd"}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in tools
    ]


def test_every_operation_in_a_deploy_is_named_and_none_depends_on_this_run_only() -> None:
    seen = 0
    for path in modules_of("deploys"):
        for call in operation_calls(path):
            seen += 1
            keywords = {keyword.arg for keyword in call.keywords}
            assert "name" in keywords, f"{path.name}:{call.lineno}: an operation without name="
            # A killed run forgets what it changed: restarts are decided from state, see operations/service.py.
            assert "_if" not in keywords, f"{path.name}:{call.lineno}: _if= depends on this run"
    assert seen > 0


def public_things(package: str) -> list[str]:
    names = []
    for path in modules_of(package):
        module = import_module(f"{package}.{path.stem}")
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_")
            is_fact = inspect.isclass(thing) and issubclass(thing, FactBase)
            is_operation = hasattr(thing, "_inner")
            if own and (is_fact if package == "facts" else is_operation):
                names.append(f"{path.stem}.{name}")
    return names


@pytest.mark.parametrize("package", ["facts", "operations"])
def test_everything_has_cases(package: str) -> None:
    things = public_things(package)
    assert things
    missing = [name for name in things if not list((CASES / package / name).glob("*.yaml"))]
    assert not missing
