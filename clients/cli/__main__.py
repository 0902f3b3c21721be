"""`python -m gephyra.clients.cli`: the command `gephyra` where the script is not on the path."""

from . import main

if __name__ == "__main__":
    main()
