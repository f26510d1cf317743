"""Five Debian machines on this one, and their faults."""
