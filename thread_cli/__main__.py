"""`python -m thread_cli` is `thread`."""

from thread_cli.cli.main import main

main()
