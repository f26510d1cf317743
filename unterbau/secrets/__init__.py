"""What must never be shown."""
