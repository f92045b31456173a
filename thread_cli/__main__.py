"""`python -m thread_cli` is `thread`."""

from thread_cli.cli.app import main

main()
