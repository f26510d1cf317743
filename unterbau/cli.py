"""The command line, one group a part of the platform. Exit codes are the same everywhere, see the README.

Subcommands are imported when they are called: the lab's answer in milliseconds, and the engine makes the standard
library cooperative (gevent) before anything else is imported.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import click
from typing_extensions import override

FAILED = 1
# Objects made before the rubbish among them is looked for. What is imported stays: looking at it every 700 objects, as
# Python does, is an eighth of the time of a plan.
LOOK_FOR_RUBBISH = (50_000, 20, 20)
COMMANDS = {
    "plan": "unterbau.plan.cli:plan_command",
    "apply": "unterbau.plan.cli:apply_command",
    "secrets": "unterbau.secrets.cli:secrets",
    "artifacts": "unterbau.artifacts.cli:artifacts",
    "vault": "unterbau.vault.cli:vault",
    "storage": "unterbau.storage.cli:storage",
    "etcd": "unterbau.etcd.cli:etcd",
    "kubernetes": "unterbau.kubernetes.cli:kubernetes",
    "lab": "unterbau.lab.cli:lab",
}


class LazyGroup(click.Group):
    """A group whose commands are imported by name."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101  # for the type checker
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unterbau")
def cli() -> None:
    """The substructure of a self-hosted platform: plan it, apply it, try it in the lab."""


def main() -> None:
    """Run the command line; click's own exit code 2 would say 'there are changes', so errors of use are 1 as well."""
    gc.set_threshold(*LOOK_FOR_RUBBISH)
    try:
        result = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(FAILED)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(FAILED)
    except OSError as error:  # standard output is full or gone
        sys.stderr.write(f"cannot go on: {error}\n")
        sys.exit(FAILED)
    sys.exit(result if isinstance(result, int) else 0)
