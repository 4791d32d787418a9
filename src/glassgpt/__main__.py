"""`python -m glassgpt` is the `glassgpt` command."""

from glassgpt.cli.main import main

main()
