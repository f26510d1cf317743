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


WAYS_IN = {"operations.ssh_server.hardened", "operations.firewall.default_deny"}  # both lock out if they go wrong


def full_names(tree: ast.AST) -> dict[str, str]:
    """{what a file calls it: its full name} of everything that a file imports, whatever the alias."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = ((alias, alias.name if alias.asname else alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = ((alias, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            continue
        found |= {alias.asname or alias.name.split(".")[0]: name for alias, name in names}
    return found


def operation_calls(source: str) -> list[tuple[str, ast.Call]]:
    """(full name, call) of every operation that a file calls."""
    tree = ast.parse(source)
    known, ours, found = full_names(tree), our_operations(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            name = ".".join(filter(None, (known.get(first, ""), rest)))
            if name in ours or name.startswith("pyinfra.operations."):
                found.append((name, node))
    return found


def our_operations() -> set[str]:
    return {f"operations.{name}" for name in public_things("operations")}


def complaints(source: str) -> list[str]:
    """What is wrong with a deploy's calls of operations."""
    found = []
    for name, call in operation_calls(source):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if "name" not in keywords:
            found.append(f"{call.lineno}: {name} without name=")
        if "_if" in keywords:  # a killed run forgets what it changed: restarts are decided from state
            found.append(f"{call.lineno}: {name} with _if=, which depends on this run")
        if name in WAYS_IN and keywords.get("_serial") != "True":
            found.append(f"{call.lineno}: {name} without _serial=True: one mistake, all nodes lost")
    return found


def test_every_operation_in_a_deploy_is_named_and_none_depends_on_this_run_only() -> None:
    found = {path.name: complaints(path.read_text()) for path in modules_of("deploys")}
    assert {name: said for name, said in found.items() if said} == {}


def test_the_call_of_every_operation_is_found() -> None:
    """In whatever way a deploy imports it. What other operations are made of, no deploy calls."""
    called = {name for path in modules_of("deploys") for name, _ in operation_calls(path.read_text())}
    parts = {
        "operations.config_file.put", "operations.config_file.absent", "operations.service.running",
        "operations.hcloud_server.declared",
    }  # fmt: skip
    assert our_operations() - called == parts


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from operations import swap\nswap.off()", ["2: operations.swap.off without name="]),
        ("from operations import swap as s\ns.off()", ["2: operations.swap.off without name="]),
        ("from operations.swap import off as o\no()", ["2: operations.swap.off without name="]),
        ("import operations.swap\noperations.swap.off()", ["2: operations.swap.off without name="]),
        ("from pyinfra.operations import server as s\ns.shell(commands=[])",
         ["2: pyinfra.operations.server.shell without name="]),
        ("from operations import swap\nswap.off(name='a', _if=b)",
         ["2: operations.swap.off with _if=, which depends on this run"]),
        ("from operations import ssh_server as s\ns.hardened(name='a', _serial=False)",
         ["2: operations.ssh_server.hardened without _serial=True: one mistake, all nodes lost"]),
        ("from operations import firewall\nfirewall.default_deny(name='a', _serial=True)", []),
        ("from operations.operator_account import Operator\nOperator('a', (), True)", []),
    ],
)  # fmt: skip
def test_a_call_is_seen_under_any_name(source: str, said: list[str]) -> None:
    assert complaints(source) == said


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


READS_NOTHING = {"layer.reached"}  # no fact, no argument


@pytest.mark.parametrize("kind", ["unknown", "hostile", "no_change"])
def test_every_operation_has_a_case_of_each_kind(kind: str) -> None:
    """A state that could not be read, text that wants to be a command, and nothing to do."""
    things = set(public_things("operations")) - (READS_NOTHING if kind != "no_change" else set())
    missing = [name for name in sorted(things) if not list((CASES / "operations" / name).glob(f"*{kind}*.yaml"))]
    assert not missing
