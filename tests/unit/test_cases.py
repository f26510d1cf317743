"""Every case in tests/cases: facts (captured output -> value) and operations (arguments and facts -> commands)."""

from pathlib import Path

import pytest
from pyinfra_testing.facts import make_fact_tests
from pyinfra_testing.operations import make_operation_tests

CASES = Path(__file__).parent.parent / "cases"
MAKERS = {"facts": make_fact_tests, "operations": make_operation_tests}

pytestmark = pytest.mark.filterwarnings("error:No (command|noop_description) set:UserWarning")

for kind, make in MAKERS.items():
    for folder in sorted(path for path in (CASES / kind).iterdir() if path.is_dir()):
        tests = make(kind, folder.name, folder)
        tests.__name__ = f"{kind}_{folder.name.replace('.', '_')}"
        globals()[tests.__name__] = tests
