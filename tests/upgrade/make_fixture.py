"""Write the data folder of a small server, as this version leaves it, for later versions to open.

    python -m tests.upgrade.make_fixture v0.1.0

Run once for each tag, and never again for an old one: the point is what that version wrote.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import gephyra as gp

FIXTURES = Path(__file__).parent / "fixtures"


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
            "job": job.name,
            "sampler": sampler.name,
            "target": target.name,
            "digest": target.digest,
            "elbo": sampler.evidence().elbo,
            "x": draws.x.tolist(),
            "log_weights": draws.log_weights.tolist(),
            "model": _model(client),
        }
    for passing in ("logs", "jobs"):
        for path in sorted((folder / "data" / passing).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    (folder / "data" / "lock").unlink()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
