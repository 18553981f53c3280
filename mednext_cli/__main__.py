"""`python -m mednext_cli` is the `mednext` command."""

from mednext_cli.app import main_and_exit

if __name__ == "__main__":
    main_and_exit()
