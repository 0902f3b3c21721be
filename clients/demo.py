"""`gephyra demo`: the posterior of a NumPyro model on real data, through an embedded server, against a known log Z."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .draws import Draws
from .errors import ServerNotInstalled
from .evidence import Evidence
from .export import write_draws
from .sync import Client, Job

__all__ = ["DemoSettings", "run_demo"]

_NEEDED = ("numpyro", "matplotlib", "arviz", "h5netcdf")
_DRAWS = 4000
_RESAMPLED = 1000


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Options of the demo; words as in `client.train`, None leaves one to the server."""

    method: str | None = None
    loss: str | None = None
    precondition: str | None = None
    seconds: float = 60.0
    seed: int = 0
    out: Path = Path("gephyra-demo")
    """Folder for the results, and for the server's data in `runs`."""


def run_demo(settings: DemoSettings, tell: Callable[[str], None] | None = print) -> dict[str, Any]:
    """Run it; the record that `gephyra demo --json` prints.

    Writes `draws.nc`, `evidence.png` and `pairs.png`. Tells what happens through `tell`, a line at a time; None is
    silent. Raises ServerNotInstalled where packages are missing, and whatever the client raises.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ServerNotInstalled(f"the demo needs {', '.join(missing)}: pip install 'gephyra[all]'")
    from .capture import from_numpyro
    from .demo_model import REFERENCE_LOG_Z, data, seeds

    say = tell or (lambda line: None)
    settings.out.mkdir(parents=True, exist_ok=True)
    with Client.local(settings.out / "runs") as client:
        say("Seeds: 21 plates, a logistic regression with random effects, written in NumPyro.")
        target = client.register(from_numpyro(seeds, **data()), name="seeds")
        say(f"Registered {target.name}: {target.dim} unknowns in the sites {', '.join(target.sites)}.")
        job = client.train(
            target,
            settings.method,
            settings.loss,
            settings.precondition,
            seconds=settings.seconds,
            seed=settings.seed,
        )
        say(f"Training {job.name} ({job.options['method']}, {job.options['loss']}) for {settings.seconds:g} s ...")
        sampler = job.result(progress=tell is not None)
        evidence, draws = sampler.evidence(), sampler.draw(_DRAWS, seed=settings.seed + 1)
        _write(settings.out, job, draws, evidence, REFERENCE_LOG_Z)
        for line in _table(evidence, draws, REFERENCE_LOG_Z):
            say(line)
        say(f"Wrote draws.nc, evidence.png and pairs.png to {settings.out}.")
        return _record(job, target.dim, evidence, REFERENCE_LOG_Z)


def _write(out: Path, job: Job, draws: Draws, evidence: Evidence, reference: float) -> None:
    """The three files."""
    from .demo_plots import plot_evidence, plot_pairs

    write_draws(draws.resample(_RESAMPLED), out / "draws.nc")
    # The job has ended: watching it again brings its history.
    history = [event.metrics for event in job.watch() if event.metrics is not None]
    plot_evidence(out / "evidence.png", history, evidence, reference)
    plot_pairs(out / "pairs.png", draws)


def _table(evidence: Evidence, draws: Draws, reference: float) -> list[str]:
    """Estimate against reference, and a glance at the posterior."""
    rows = [
        ("", "estimate", "reference"),
        ("log Z", f"{evidence.log_z:.3f} ± {evidence.log_z_se:.3f}", f"{reference:.3f}"),
        ("ELBO", f"{evidence.elbo:.3f} ± {evidence.elbo_se:.3f}", f"at most {reference:.3f}"),
        ("ESS fraction", f"{evidence.ess_fraction:.2f}", "1 is perfect"),
        ("k-hat", f"{evidence.k_hat:.2f}", "below 0.7 is good"),
    ]
    rows.append(("", "", ""))
    rows.append(("posterior", "mean ± sd", ""))
    weights = draws.weights
    for name in ("a_0", "a_1", "a_2", "a_12"):
        mean = float(weights @ draws.sites[name])
        sd = float(weights @ (draws.sites[name] - mean) ** 2) ** 0.5
        rows.append((name, f"{mean:.2f} ± {sd:.2f}", ""))
    table = [f"  {label:<14}{estimate:<20}{known}".rstrip() for label, estimate, known in rows]
    return ["", *table, "", *(f"Warning: {warning}" for warning in evidence.warnings)]


def _record(job: Job, dim: int, evidence: Evidence, reference: float) -> dict[str, Any]:
    return {
        "target": job.target,
        "dim": dim,
        "method": job.options["method"],
        "loss": job.options["loss"],
        "elbo": evidence.elbo,
        "elbo_se": evidence.elbo_se,
        "log_z": evidence.log_z,
        "log_z_se": evidence.log_z_se,
        "ess_fraction": evidence.ess_fraction,
        "k_hat": evidence.k_hat,
        "train_seconds": evidence.times.train_seconds,
        "target_evaluations": evidence.target_evaluations,
        "reference_log_z": reference,
    }
