"""The order of operations from the call stack, without reading source files for it.

pyinfra asks `inspect.stack()`, which opens and parses the source of every frame: a third of a large run. The answer
here is the same list of line numbers, taken from the frames alone; tests/unit/test_order.py compares the two.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import FrameType

from pyinfra.api.state import State
from pyinfra.api.util import PYINFRA_INSTALL_DIR


def operation_order(state: State) -> list[int]:
    """[number of the deploy file, line numbers from its outermost frame inwards]; pyinfra's own frames are left out."""
    lines: list[int] = []
    since_deploy_file = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(PYINFRA_INSTALL_DIR):
            lines.append(frame.f_lineno)
        if filename == state.current_deploy_filename:
            since_deploy_file = len(lines)
        frame = frame.f_back
    return [state.current_op_file_number, *reversed(lines[:since_deploy_file])]


def use_fast_operation_order() -> None:
    """Make pyinfra's operations use it in this process."""
    module = import_module("pyinfra.api.operation")  # its name in pyinfra.api is the decorator
    module.get_operation_order_from_stack = operation_order  # type: ignore[attr-defined]
