"""The lab's bootstrap store and the identity that opens it: made with the lab, gone with it."""

from __future__ import annotations

from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab


def there(lab: Lab) -> bool:
    """Whether both files are there."""
    return lab.identity.exists() and lab.store.exists()


def ensure(lab: Lab) -> bool:
    """Make both if there is no store; whether that was so. LabError for a store without its identity."""
    if there(lab):
        return False
    if lab.store.exists():
        raise LabError(
            f"cannot open {lab.store}: its identity {lab.identity} is gone; put it back, or start over with "
            "`unterbau lab down`"
        )
    from unterbau.secrets.errors import StoreError  # noqa: PLC0415  # a lab that is up pays for no import of this
    from unterbau.secrets.identity import new_identity  # noqa: PLC0415
    from unterbau.secrets.store import Store  # noqa: PLC0415

    try:
        Store(lab.store, lab.identity).check_not_lost()
        Store.create(lab.store, lab.identity, [new_identity(lab.identity)])
    except StoreError as error:
        raise LabError(str(error)) from error
    return True
