"""Imported first by whatever connects: makes the standard library cooperative (gevent), as pyinfra's command line does.

gevent asks every installed package for plug-ins at each of 25 steps of that. There are none, and looking takes 0.2 s.
"""

from __future__ import annotations

from gevent import events

events.notify_and_call_entry_points = events.notify  # type: ignore[attr-defined]

import pyinfra_cli  # noqa: E402, F401
