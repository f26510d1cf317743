"""The whole platform, layer by layer."""

from __future__ import annotations

from deploys.base import base

base()
