"""When a secret has been used for long enough."""

from __future__ import annotations

from datetime import datetime


def overdue_days(made_at: datetime, period_days: int | None, now: datetime) -> int | None:
    """How many whole days its period is over, 0 on the first; None if it is not, or it has none.

    A clock that was set back since makes nothing overdue. Source: NIST SP 800-57 part 1, 5.3 (cryptoperiods).
    """
    if period_days is None:
        return None
    over = (now - made_at).days - period_days
    return over if over >= 0 else None
