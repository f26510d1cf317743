"""The node's firewall: our file, our unit, our table in the kernel, and what the file would be there."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from facts.guard import left_command
from unterbau.domain.unknown import UNKNOWN, Unknown

RULES = "/etc/unterbau/firewall.nft"
UNIT_NAME = "unterbau-firewall.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
TABLE = "inet unterbau"


class Firewall(TypedDict):
    """One node's firewall. Tables are text as `nft -s list table` writes it: no counters, no handles."""

    rules: FileState
    unit: FileState
    enabled: bool
    active: bool
    table: str | None  # in force now; None if there is none
    expected: str | None  # what `rules` gives in an empty network namespace; None if absent or refused
    refused: str | None  # what nft says of `rules` if it refuses them
    guard_left: bool  # an interrupted run left a change that was neither proven nor reverted


_LIST = f"nft -s list table {TABLE}"
_LIVE = (
    # not straight into a pipe: there, an nft that fails would look like a node without a table
    f"tables=$(nft list tables) || exit 1; table=; if echo \"$tables\" | grep -qx 'table {TABLE}'; then\n"
    f"table=$({_LIST}) || exit 1; echo \"$table\" | sed 's/^/table /'\nfi"
)
# The kernel's own spelling of our file: a rule that was added by hand differs, an address that was only moved doesn't.
# A table that was listed and loaded again (a reverted change was) may be spelled more tersely: then ours is, as well.
_EXPECTED = (
    f"scratch() {{ unshare --net sh -c 'nft -f - && {_LIST}'; }}\n"
    f"if test -f {RULES}; then\n"
    f"if expected=$(scratch <{RULES} 2>&1); then\n"
    'if test "$expected" != "$table"; then\n'
    'terse=$(echo "$expected" | scratch); test "$terse" != "$table" || expected=$terse\nfi\n'
    "echo \"$expected\" | sed 's/^/expected /'\nelse echo \"$expected\" | sed 's/^/refused /'; fi\nfi"
)


class State(FactBase[Firewall | Unknown]):
    """The state of the firewall. A node without nft has no table."""

    @override
    @staticmethod
    def default() -> Firewall | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return (
            f"{left_command('firewall')}\n"
            # not straight into pipes: there, a failure would look like an absence
            f"files=$({reading([RULES, UNIT])}) || exit 1; printf '%s\\n' \"$files\" | sed 's/^/file /'\n"
            f"unit=$(systemctl show -p ActiveState,UnitFileState {UNIT_NAME}) || exit 1\n"
            "printf '%s\\n' \"$unit\" | sed 's/^/unit /'\n"
            f"if command -v nft >/dev/null; then\n{_LIVE}\n{_EXPECTED}\nfi"
        )

    @override
    def process(self, output: list[str]) -> Firewall | Unknown:
        said: dict[str, list[str]] = {}
        for line in output:
            subject, _, rest = line.partition(" ")
            said.setdefault(subject, []).append(rest)
        try:
            files = dict(parsed(line) for line in said["file"])
            return {
                "rules": files[RULES],
                "unit": files[UNIT],
                "enabled": "UnitFileState=enabled" in said["unit"],
                "active": "ActiveState=active" in said["unit"],
                "table": _text(said.get("table")),
                "expected": _text(said.get("expected")),
                "refused": _text(said.get("refused")),
                "guard_left": said["guard"][0] == "left",
            }
        except (KeyError, IndexError) as error:
            raise FactProcessError(f"cannot read the state of the firewall: {error!r}") from error


def _text(lines: list[str] | None) -> str | None:
    return None if lines is None else "\n".join(lines) + "\n"
