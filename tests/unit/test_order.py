"""The fast order of operations is pyinfra's own order."""

from pathlib import Path

import pyinfra
from pyinfra.api import State
from pyinfra.api.util import get_operation_order_from_stack

from unterbau.plan.order import operation_order

DEPLOY = """
def layer(measure):
    def inner():
        return (
            measure()
        )
    return [inner() for _ in range(2)]

result = layer(measure)
"""


def test_it_gives_the_same_lines(tmp_path: Path, monkeypatch: object) -> None:
    file = tmp_path / "site.py"
    file.write_text(DEPLOY)
    state = State()
    state.current_deploy_filename = str(file)
    state.current_op_file_number = 3
    pairs = []

    def measure() -> None:
        pairs.append((operation_order(state), get_operation_order_from_stack(state)))

    was = pyinfra.is_cli
    pyinfra.is_cli = True
    try:
        exec(compile(DEPLOY, str(file), "exec"), {"measure": measure})  # noqa: S102
    finally:
        pyinfra.is_cli = was
    assert len(pairs) == 2
    for fast, slow in pairs:
        # Both end in the line of their own call inside `measure`, which differs by nothing: one line calls both.
        assert fast == slow
        assert fast[0] == 3
        assert len(fast) > 3
