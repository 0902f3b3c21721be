"""Commands on trained samplers."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from ..denoising import SOLVERS
from ..errors import InvalidArgument, Violation
from ..export import write_draws
from ..words import POLISHES
from .options import Folder, Json, Seed, Server, connect
from .output import identifier, print_facts, print_json, print_rows, say
from .tabular import read_rows

__all__ = ["draw", "evidence", "log_prob", "nll", "samplers"]

_Name = Annotated[str, typer.Argument(help="Name or id of the sampler.")]


def samplers(server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """List all trained samplers.

    Example: `gephyra samplers --folder runs`
    """
    with connect(server, folder) as client:
        listed = client.samplers()
    if as_json:
        print_json([sampler.to_json() for sampler in listed])
        return
    # As the sampler tells them; a model of data has a likelihood instead of log Z.
    labels = ["dim", "log Z", "ELBO", "ESS", "k-hat", "NLL, held out"]
    names = [(identifier(sampler.name), identifier(sampler.target or sampler.dataset)) for sampler in listed]
    told = [dict(sampler.rows()) for sampler in listed]
    labels = [label for label in labels if any(label in each for each in told)]
    facts = [[each.get(label, "") for label in labels] for each in told]
    rows = [(*name, *fact) for name, fact in zip(names, facts, strict=True)]
    print_rows(("sampler", "of", *labels), rows, names=("of",))


def draw(
    name: _Name,
    count: Annotated[int, typer.Option("-n", "--count", help="How many draws.")] = 1000,
    seed: Seed = 0,
    start: Annotated[int, typer.Option(help="Index of the first draw.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .nc or .npz.")] = Path("draws.nc"),
    resample: Annotated[int, typer.Option(help="Resample to this many draws of equal weight; 0 keeps weights.")] = 0,
    sites: Annotated[bool, typer.Option(help="Bring the model's own sites along.")] = True,
    smc: Annotated[bool, typer.Option("--smc", help="Resample along paths (cmcd, mcd, ula, -ud).")] = False,
    polish: Annotated[str | None, typer.Option(help=f"Metropolis steps on draws: {', '.join(POLISHES)}.")] = None,
    polish_steps: Annotated[int | None, typer.Option(help="MALA steps; 10 if not given.")] = None,
    solver: Annotated[str | None, typer.Option(help=f"Of a model of data: {', '.join(SOLVERS)}.")] = None,
    solver_steps: Annotated[int | None, typer.Option(help="Of a model of data: steps of the solver.")] = None,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Draw from a sampler into a file.

    Example: `gephyra draw sampler-0a1b2c3d4e5f -n 4000 --seed 1 --out draws.nc --folder runs`
    """
    if out.suffix not in {".nc", ".npz"}:
        sentence = f"--out must end in .nc or .npz, got {out.name!r}"
        raise InvalidArgument(sentence, violations=[Violation("out", sentence)])
    if not out.absolute().parent.is_dir():
        sentence = f"--out {out}: there is no folder {out.absolute().parent}"
        raise InvalidArgument(sentence, violations=[Violation("out", sentence)])
    with connect(server, folder) as client:
        sampler = client.sampler(name)
        draws = sampler.draw(
            count, seed=seed, start=start, sites=sites, smc=smc, polish=polish, polish_steps=polish_steps,
            solver=solver, solver_steps=solver_steps,
        )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        write_draws(draws.resample(resample, seed=seed) if resample else draws, out)
    record = {"sampler": draws.sampler, "count": count, "seed": seed, "start": start, "resampled": resample}
    if as_json:
        print_json({**record, "ess": draws.ess, "sha256": draws.sha256, "out": str(out)})
    else:
        print_facts(str(out), draws.rows())
    stored = draws.evidence.warnings if draws.evidence else ()
    for sentence in (*stored, *(str(warning.message) for warning in caught)):
        typer.echo(f"warning: {sentence}", err=True)


def evidence(
    name: _Name,
    paths: Annotated[int | None, typer.Option(help="Estimate on this many fresh paths.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the fresh noise.")] = None,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Show log Z, ELBO and how far the weights can be trusted: the stored report, or an estimate on fresh noise.

    Example: `gephyra evidence sampler-0a1b2c3d4e5f --paths 65536 --seed 7 --folder runs`
    """
    with connect(server, folder) as client:
        sampler = client.sampler(name)
        found = sampler.evidence(paths, seed)
    if as_json:
        print_json({"sampler": sampler.name, **found.to_json()})
        return
    print_facts(sampler.name, found.rows())
    for warning in found.warnings:
        say(f"warning: {warning}")


def nll(
    name: _Name,
    dataset: Annotated[str, typer.Argument(help="Name or id of the data set.")],
    seed: Seed = 0,
    draws: Annotated[int | None, typer.Option(help="Noise levels a row; 64 if not given.")] = None,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Show how likely a data set is under a model of data: negative log likelihood by the ELBO and by the flow.

    Example: `gephyra nll sampler-0a1b2c3d4e5f held-out --folder runs`
    """
    with connect(server, folder) as client:
        found = client.sampler(name).nll(dataset, seed, draws)
    print_json({"sampler": name, "dataset": dataset, **found.to_json()}) if as_json else print_facts(name, found.rows())


def log_prob(
    name: _Name,
    rows: Annotated[Path, typer.Argument(help="A .csv, .tsv or .npy file; headings go by the columns' names.")],
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Print the log density of each row of a file under a model of data, in nats, a line a row.

    Example: `gephyra log-prob sampler-0a1b2c3d4e5f held-out.csv --folder runs`
    """
    with connect(server, folder) as client:
        sampler = client.sampler(name)
        found = sampler.log_prob(read_rows(rows, list(sampler.sites))).tolist()
    if as_json:
        print_json({"sampler": sampler.name, "log_prob": found})
        return
    for value in found:
        print(f"{value:.6f}")
