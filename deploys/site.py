"""The whole platform, layer by layer. Nodes and endpoints are hosts alike; each layer is for some of them."""

from __future__ import annotations

from pyinfra import host

from deploys.base import base
from deploys.pki import trust
from deploys.secrets import secrets

if host.data.get("store"):
    secrets()
if host.data.get("node"):
    base()
    if host.data.get("pki"):
        trust()
