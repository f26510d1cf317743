"""Every case in tests/cases: facts (captured output -> value) and operations (arguments and facts -> commands).

Beside pyinfra-testing's keys: `!unknown` is a fact that could not be read, `!after_apply` one that is known later,
`!hidden text` a secret, and an operation's `changes` are what it says that it will change: [subject, old, new] or
[subject, diff]. Its `remarks` are what the plan tells whether or not anything is to do: [name, arithmetic].
"""

from dataclasses import astuple
from pathlib import Path

import pytest
import yaml
from pyinfra_testing.facts import make_fact_tests
from pyinfra_testing.operations import make_operation_tests
from pyinfra_testing.util import FakeFact, FakeHost

from unterbau.changes import recording
from unterbau.domain.unknown import AFTER_APPLY, UNKNOWN
from unterbau.secrets.hidden import Hidden

CASES = Path(__file__).parent.parent / "cases"

pytestmark = pytest.mark.filterwarnings("error:No (command|noop_description) set:UserWarning")

yaml.SafeLoader.add_constructor("!unknown", lambda loader, node: UNKNOWN)
yaml.SafeLoader.add_constructor("!after_apply", lambda loader, node: AFTER_APPLY)
yaml.SafeLoader.add_constructor("!hidden", lambda loader, node: Hidden(loader.construct_scalar(node)))


fake_fact = FakeHost.get_fact


def get_fact(*args, **kwargs):
    """A fact without arguments is its value too, not a wrapper that is nobody's UNKNOWN."""
    value = fake_fact(*args, **kwargs)
    return value.data if isinstance(value, FakeFact) else value


FakeHost.get_fact = get_fact


def make_recorded_operation_tests(kind, name, folder):
    tests = make_operation_tests(kind, name, folder)
    run = tests._test

    def run_recorded(self, test_name, case):
        with recording() as record:
            run(self, test_name, case)
        if "changes" in case:
            assert [list(astuple(change)) for change in record.changes] == case["changes"]
        if "remarks" in case:
            assert [[remark.name, remark.arithmetic] for remark in record.remarks] == case["remarks"]

    tests._test = run_recorded
    return tests


MAKERS = {"facts": make_fact_tests, "operations": make_recorded_operation_tests}

for kind, make in MAKERS.items():
    for folder in sorted(path for path in (CASES / kind).iterdir() if path.is_dir()):
        tests = make(kind, folder.name, folder)
        tests.__name__ = f"{kind}_{folder.name.replace('.', '_')}"
        globals()[tests.__name__] = tests
