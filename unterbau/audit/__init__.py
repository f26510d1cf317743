"""Who changed what, and from which commit: names and versions, never values."""
