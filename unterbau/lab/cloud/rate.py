"""How many requests are left: a token bucket that refills evenly over the hour.

Source: Hetzner Cloud API, "Rate limiting".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HOUR_S = 3600


@dataclass
class Rate:
    """Requests left of `limit`, at a time in seconds."""

    limit: int
    left: float
    at_s: float

    def take(self, now_s: float) -> bool:
        """Use one; False if none is left."""
        self.left = min(float(self.limit), self.left + (now_s - self.at_s) * self.limit / HOUR_S)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def headers(self) -> dict[str, str]:
        """What is left, and when all of it is there again (UNIX time in seconds)."""
        full_at = self.at_s + (self.limit - self.left) * HOUR_S / self.limit
        return {
            "RateLimit-Limit": str(self.limit), "RateLimit-Remaining": str(int(self.left)),
            "RateLimit-Reset": str(math.ceil(full_at)),
        }  # fmt: skip
