"""Write the data folder of a small server, as this version leaves it, for later versions to open.

    python -m tests.upgrade.make_fixture v0.1.0

Run once for each tag, and never again for an old one: the point is what that version wrote. The wire of the version
goes beside it: `make check` compares that of today with the newest (`scripts/check.sh`, `wire`).
"""

import hashlib
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import gephyra as gp

FIXTURES = Path(__file__).parent / "fixtures"
PROTOS = Path(gp.__file__).parent / "protos"

# Between a server and its own workers: it may change.
_PRIVATE = "worker.proto"


def processor() -> str:
    """What kind of processor this is, by what it can do: draws are equal bit for bit on one kind."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    told = {name.strip(): value.strip() for name, _, value in lines}
    can = hashlib.sha256(" ".join(sorted(told.get("flags", "").split())).encode()).hexdigest()
    return f"{told.get('model name', 'unknown')}, {can[:12]}"


def _model(client: gp.Client) -> dict[str, Any]:
    """Upload a small data set, model it, make a target of the model, and note the same of them."""
    rows = client.upload(np.random.default_rng(0).normal(size=(60, 2)), name="points", columns=["east", "north"])
    model = client.train(rows, iterations=3, width=8, blocks=1, batch_size=16, seed=0).result(progress=False)
    draws, target = model.draw(5, seed=1), client.register(model, name="points-model")
    return {
        "dataset": rows.name,
        "sampler": model.name,
        "target": target.name,
        "x": draws.x.tolist(),
        "log_prob": model.log_prob(draws.x).tolist(),
    }


def unfinished(folder: Path) -> dict[str, Any]:
    """A folder whose server stopped while it trained, with a checkpoint and a job that waits; what must be found."""
    with gp.Client.local(folder) as client:
        target = client.register(gp.catalogue("gaussian", dim=2), name="normal")
        options: dict[str, Any] = {"steps": 4, "width": 8, "batch_size": 16, "precondition": "none", "seed": 0}
        job = client.train(target, iterations=150, **options)
        waiting = client.train(target, iterations=3, **options)
        for event in job.watch():
            if event.metrics is not None and event.metrics.step > 0:
                break
    name = job.name.rpartition("/")[2]
    with closing(sqlite3.connect(folder / "gephyra.sqlite3")) as rows:
        query = "SELECT last_sequence FROM jobs WHERE name = ?"
        ((events,),) = rows.execute(query, [name]).fetchall()
    # The last one was written while the server stopped, when nobody took down its event.
    steps = [int(path.stem.rpartition("-")[2]) for path in (folder / "jobs" / name).glob("*/checkpoint-*")]
    _tidy(folder, ("logs",))
    return {"job": job.name, "waiting": waiting.name, "step": max(steps), "events": events}


def _tidy(data: Path, passing: tuple[str, ...]) -> None:
    for name in passing:
        shutil.rmtree(data / name, ignore_errors=True)
    (data / "lock").unlink()


def main(tag: str) -> None:
    """Register a target, train a tiny sampler and a tiny model of data, and note what must be found again."""
    folder = FIXTURES / tag
    folder.mkdir()
    with gp.Client.local(folder / "data") as client:
        target = client.register(gp.catalogue("eight-schools"), name="schools")
        job = client.train(target, iterations=3, steps=4, width=8, batch_size=16, precondition="none", seed=0)
        sampler = job.result(progress=False)
        draws = sampler.draw(5, seed=1)
        expected = {
            "processor": processor(),
            "job": job.name,
            "sampler": sampler.name,
            "target": target.name,
            "digest": target.digest,
            "elbo": sampler.evidence().elbo,
            "x": draws.x.tolist(),
            "log_weights": draws.log_weights.tolist(),
            "model": _model(client),
        }
    _tidy(folder / "data", ("logs", "jobs"))
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    (folder / "unfinished.json").write_text(json.dumps(unfinished(folder / "unfinished"), indent=1) + "\n")
    (folder / "protos").mkdir()
    for path in PROTOS.glob("*.proto"):
        if path.name != _PRIVATE:
            shutil.copy(path, folder / "protos")


if __name__ == "__main__":
    main(sys.argv[1])
