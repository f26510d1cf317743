"""`python -m unterbau.lab`: the lab alone, without the rest of the command line."""

from __future__ import annotations

from unterbau.lab.cli import lab

lab(prog_name="unterbau lab")
