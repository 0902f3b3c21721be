"""The tree of commands."""

import typer

from . import data, dataset, db, job_orders, jobs, samplers, server, targets
from .doctor import doctor
from .errors import ErrorGroup

__all__ = ["app"]

app = typer.Typer(
    cls=ErrorGroup,
    name="gephyra",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    help="""Samples densities known only up to a constant, and estimates log Z.

Start with `gephyra demo`. A first session of one's own, in a folder:

    gephyra targets add-catalogue funnel dim=10 --name my-funnel --folder runs

    gephyra train my-funnel --seconds 30 --folder runs

    gephyra draw SAMPLER -n 4000 --out draws.nc --folder runs
""",
)

app.command("serve")(server.serve)
app.command("demo")(server.demo)
app.command("doctor")(doctor)
app.command("info")(server.info)
app.add_typer(targets.app, name="targets")
app.add_typer(data.app, name="data")
app.add_typer(dataset.app, name="dataset")
app.add_typer(db.app, name="db")
app.command("train")(jobs.train)
app.command("watch")(jobs.watch)
app.add_typer(jobs.app, name="jobs")
app.command("pause")(job_orders.pause)
app.command("resume")(job_orders.resume)
app.command("cancel")(job_orders.cancel)
app.command("retry")(job_orders.retry)
app.command("samplers")(samplers.samplers)
app.command("draw")(samplers.draw)
app.command("evidence")(samplers.evidence)
app.command("nll")(samplers.nll)
app.command("log-prob")(samplers.log_prob)
