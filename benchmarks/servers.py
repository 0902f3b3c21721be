"""What a write costs on PostgreSQL, with one server and with two that write without pause, and how soon news come.

A write is an event of a job: read, update and insert in one transaction, by turns over all servers, and told to the
others at its commit. News are timed from before the write to when the other server hears of it.

    python -m benchmarks.servers --database-url postgresql+psycopg://user:password@host/empty_database
"""

import argparse
import asyncio
import subprocess
import sys
import time
from contextlib import aclosing

from gephyra.samplers.settings import TrainingSettings
from gephyra.service.config import TENANT
from gephyra.service.store import jobs
from gephyra.service.store.database import Store
from gephyra.service.store.postgresql import PostgreSql
from gephyra.service.store.records import JobRecord, JobState

_WRITES, _NEWS = 1000, 200


def main() -> None:
    """Run it, or one of the writers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers")
    parser.add_argument("--database-url", required=True, help="of an empty database")
    parser.add_argument("--writer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        _write(options.database_url, options.writer)
        return
    Store(PostgreSql(options.database_url)).close()
    for count in (1, 2):
        print(f"{count} writing: {_together(options.database_url, count)}", flush=True)
    print(f"news after {asyncio.run(_news(options.database_url))}")


def _together(url: str, count: int) -> str:
    """p50 and p99 of each of so many processes that write at the same time."""
    command = [sys.executable, "-m", "benchmarks.servers", "--database-url", url, "--writer"]
    names = [f"{count}-{number}" for number in range(count)]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in names]
    return "; ".join(writer.communicate()[0].strip() for writer in writers)


def _write(url: str, name: str) -> None:
    store = Store(PostgreSql(url))
    job = JobRecord(f"job-{name}", name, "t", "", TrainingSettings(), JobState.QUEUED, 1)
    store.write_now(jobs.add, TENANT, job, b"")
    # Begin together.
    time.sleep(1.5 - time.time() % 1.0)
    seconds = []
    for _ in range(_WRITES):
        started = time.perf_counter()
        store.write_now(jobs.record, TENANT, job.name, 0, bytes(200))
        seconds.append(time.perf_counter() - started)
    store.close()
    print(_quantiles(seconds))


async def _news(url: str) -> str:
    one, two = Store(PostgreSql(url)), Store(PostgreSql(url))
    seconds = []
    async with aclosing(two.place.notices()) as notices:
        await anext(notices)
        one.write_now(jobs.add, TENANT, JobRecord("news", "n", "t", "", TrainingSettings(), JobState.QUEUED, 1), b"")
        await anext(notices)
        for _ in range(_NEWS):
            started = time.perf_counter()
            written = asyncio.create_task(one.write(jobs.record, TENANT, "news", 0, bytes(200)))
            await anext(notices)
            seconds.append(time.perf_counter() - started)
            await written
    for store in (one, two):
        store.close()
    return _quantiles(seconds)


def _quantiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"p50 {1000 * middle:.2f} ms, p99 {1000 * late:.2f} ms of {len(ordered)}"


if __name__ == "__main__":
    main()
