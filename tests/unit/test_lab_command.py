"""The lab's command line, where it needs no lab."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from unterbau.lab.cli import lab


@pytest.mark.parametrize(
    "arguments",
    [
        ["up"],
        ["down"],
        ["status"],
        ["shell", "srv-1"],
        ["fault", "list"],
        ["fault", "kill", "srv-1"],
        ["fault", "undo"],
    ],
)
def test_without_root_each_command_is_a_sentence_and_exit_1(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    ran = CliRunner().invoke(lab, arguments)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == "Error: cannot work on the lab: it takes root; run it with sudo\n"
