"""`python -m server` is the hearth command."""

from server.cli.main import main

main()
