"""`python -m unterbau` is `unterbau`."""

from unterbau.cli import main

main()
