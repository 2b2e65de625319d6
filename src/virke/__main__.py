"""`python -m virke`: the same as the `virke` command."""

from virke.cli.main import main

if __name__ == "__main__":
    main()
