"""Where a cloud's state lives: one JSON file, replaced as a whole, for its owner's eyes only."""

from __future__ import annotations

import json
import os
from pathlib import Path

from unterbau.lab.cloud.answer import Record
from unterbau.lab.errors import LabError


class Store:
    """The file at `path`; with None the state is forgotten with the process."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    def load(self) -> Record | None:
        """What was saved last; None if nothing was yet. LabError if the file cannot be read."""
        if self.path is None or not self.path.exists():
            return None
        try:
            state: Record = json.loads(self.path.read_text())
        except (OSError, ValueError) as error:
            raise LabError(
                f"cannot read the lab cloud's state {self.path}: {error}; remove it to begin with an empty cloud"
            ) from error
        return state

    def save(self, state: Record) -> None:
        """Replace the file: whoever reads sees the old state or the new one, never a part."""
        if self.path is None:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.part")
        part.unlink(missing_ok=True)  # what a killed process left has whatever mode it had
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(state))  # json.dump encodes piece by piece, several times slower
        part.replace(self.path)
