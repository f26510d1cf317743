"""Layers follow each other on all hosts.

pyinfra orders the operations of each host, and interleaves hosts that have different ones: an API would be configured
while the nodes that serve it are not there yet. An operation that every host has stands after all that came before it
on any of them, and before all that comes after it.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from operations.config_file import Commands


@operation()
def reached() -> Commands:
    """Nothing to do: everything before it, on every host, is done.

    Call it on every host, with a name that begins with "layer ": those no plan counts.
    """
    host.noop("every host is here before any goes on")
    yield from ()
