"""The command `gephyra`. It needs the `cli` extra; without it, it says so and exits with 2.

Exit codes: 0 done, 1 a fault of the server, 2 bad input, 3 not found, 4 refused, 5 server gone, 6 job failed,
130 interrupted.
"""

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process; ends it with the exit code."""
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        print(f"gephyra: the command line needs {' and '.join(missing)}: pip install 'gephyra[cli]'", file=sys.stderr)
        raise SystemExit(2)
    from .app import app

    app(prog_name="gephyra")
