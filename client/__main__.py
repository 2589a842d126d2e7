"""`python -m client` is `sat`."""

from client.cli import main

main()
