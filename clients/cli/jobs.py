"""Commands on training jobs."""

from typing import Annotated

import typer

from ..errors import InvalidArgument, Violation
from ..facts import summary
from ..sync import Job, SamplerHandle
from .options import Folder, Json, Loss, Method, Precondition, Seed, Server, connect
from .output import identifier, print_facts, print_json, print_rows, say

__all__ = ["cancel", "jobs", "train", "watch"]

_Name = Annotated[str, typer.Argument(help="Name or id of the job.")]


def train(
    target: Annotated[str, typer.Argument(help="Name or id of the target.")],
    method: Method = "dbs",
    loss: Loss = "rkl-ld",
    precondition: Precondition = "gaussian",
    seconds: Annotated[float | None, typer.Option(help="Budget in seconds of training; 60 if none is given.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Budget in optimiser steps instead.")] = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(help="Transitions a path; 64 if not given.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Paths an optimiser step; 256 if not given.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the control networks; 64 if not given.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate; 0.005 if not given.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait (with --server only).")] = False,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Train a sampler on a target, and wait for it.

    Example: `gephyra train my-funnel --method dbs --loss rkl-ld --seconds 60 --folder runs`
    """
    if detach and server is None:
        sentence = "--detach needs --server: a server of one's own ends with this command"
        raise InvalidArgument(sentence, violations=[Violation("detach", sentence)])
    with connect(server, folder) as client:
        job = client.train(
            target,
            method,
            loss,
            precondition,
            seconds=seconds,
            iterations=iterations,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            width=width,
            learning_rate=learning_rate,
        )
        if not detach:
            _report(job.result(), job.name, as_json)
            return
    print_json(job.to_json()) if as_json else say(f"started {job.name}; to watch it: gephyra watch {job.name}")


def watch(
    name: _Name,
    after: Annotated[int, typer.Option(help="Leave out the events up to this sequence number.")] = 0,
    server: Server = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Follow a training job until it ends; with --json, one event a line.

    Example: `gephyra watch trainingJobs/0a1b2c --server localhost:50051`
    """
    with connect(server, folder) as client:
        job = client.job(name)
        if not as_json:
            _report(job.result(), job.name, as_json)
            return
        for event in job.watch(after):
            print_json(event.to_json())
        job.outcome()


def jobs(server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """List all training jobs.

    Example: `gephyra jobs --folder runs`
    """
    with connect(server, folder) as client:
        listed = client.jobs()
    if as_json:
        print_json([job.to_json() for job in listed])
        return
    rows = [
        (identifier(job.name), job.state.value, identifier(job.target), identifier(job.sampler_name), _progress(job))
        for job in listed
    ]
    print_rows(("job", "state", "target", "sampler", "progress"), rows)


def cancel(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Stop a training job for good.

    Example: `gephyra cancel trainingJobs/0a1b2c --server localhost:50051`
    """
    with connect(server, folder) as client:
        job = client.job(name).cancel()
    print_json(job.to_json()) if as_json else say(f"{job.name} is {job.state.value.lower()}")


def _progress(job: Job) -> str:
    """How a job that is not finished gets on."""
    return summary(job.metrics) if job.metrics is not None and not job.state.final else job.message.error.message


def _report(sampler: SamplerHandle, job: str, as_json: bool) -> None:
    """What was trained, and how good it is."""
    evidence = sampler.evidence()
    if as_json:
        print_json({"job": job, "sampler": sampler.name, "target": sampler.target, **evidence.to_json()})
        return
    print_facts(sampler.name, [("target", sampler.target), *evidence.rows()])
    for warning in evidence.warnings:
        say(f"warning: {warning}")
