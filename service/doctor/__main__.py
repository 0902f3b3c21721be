"""`python -m gephyra.service.doctor`: the findings as one line of JSON; exit code 1 if one would stop the service."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from . import folder, network, packages
from .finding import Finding, Level, Setup

__all__ = ["CHECKS", "examine", "main"]

CHECKS: Sequence[Callable[[Setup], Iterator[Finding]]] = (
    packages.check_python,
    packages.check_packages,
    folder.check_folder,
    folder.check_disk,
    folder.check_schema,
    network.check_database,
    packages.check_workers,
    network.check_ports,
    folder.check_clock,
    packages.check_traces,
)


def examine(setup: Setup) -> list[Finding]:
    """All findings, in order. A check that fails itself stops nothing but says so."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(setup)
        except Exception as error:
            name = check.__name__.removeprefix("check_")
            advice = "this is a fault of the check itself: please report it"
            findings.append(Finding(name, Level.WARNING, f"{type(error).__name__}: {error}", advice))
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gephyra.service.doctor")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--listen", default="", metavar="HOST:PORT")
    parser.add_argument("--admin", default="", metavar="HOST:PORT")
    url = os.environ.get("GEPHYRA_DATABASE_URL", "")
    parser.add_argument("--database-url", default=url, metavar="URL", help="default: $GEPHYRA_DATABASE_URL")
    options = parser.parse_args(arguments)
    findings = examine(Setup(options.data.absolute(), options.listen, options.admin, options.database_url))
    print(json.dumps([asdict(finding) for finding in findings]))
    return int(any(finding.level is Level.STOP for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
