"""`python -m client` is `sat`."""

from client.cli import main

if __name__ == "__main__":  # training starts processes that import this module again
    main()
