"""Where in the user's file a declaration was made, down to the line of a field."""

from __future__ import annotations

import ast
import inspect
import linecache
from functools import lru_cache
from pathlib import Path
from types import FrameType

from unterbau.declaration.problems import Place

_OURS = str(Path(__file__).parent)


def calling_frame() -> FrameType:
    """The nearest frame that is not of this package: the line that declares."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_back and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    assert frame is not None  # noqa: S101  # CPython always has frames
    return frame


def place_of(frame: FrameType) -> Place:
    """The frame's present line."""
    return Place(frame.f_code.co_filename, frame.f_lineno)


def field_line(frame: FrameType, path: tuple[int | str, ...]) -> int:
    """The line of a field's value in the call this frame is at; the call's own where the value is not written out."""
    call = _call(frame)
    node: ast.expr | None = call
    line = frame.f_lineno
    for step in path:
        node = _inside(node, step)
        if node is None:
            break
        line = node.lineno
    return line


def _call(frame: FrameType) -> ast.Call | None:
    at = inspect.getframeinfo(frame).positions
    calls = _calls("".join(linecache.getlines(frame.f_code.co_filename)))
    start = (at.lineno, at.col_offset, at.end_lineno) if at else None
    return next((c for c in calls if (c.lineno, c.col_offset, c.end_lineno) == start), None)


@lru_cache(maxsize=16)
def _calls(source: str) -> tuple[ast.Call, ...]:
    try:
        return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    except SyntaxError:
        return ()


def _inside(node: ast.expr | None, step: int | str) -> ast.expr | None:
    """The value of a keyword, a dict's key or a tuple's item."""
    match node, step:
        case ast.Call(keywords=keywords), str():
            return next((keyword.value for keyword in keywords if keyword.arg == step), None)
        case ast.Dict(keys=keys, values=values), str():
            pairs = zip(keys, values, strict=True)
            return next((value for key, value in pairs if isinstance(key, ast.Constant) and key.value == step), None)
        case ast.Tuple(elts=items) | ast.List(elts=items), int():
            return items[step] if step < len(items) else None
    return None
