"""Commands on training jobs."""

from typing import Annotated

import typer

from ..errors import InvalidArgument, Violation
from ..facts import summary
from ..sync import Job, SamplerHandle
from .job_orders import delete
from .model import (
    Blocks,
    Head,
    High,
    Image,
    Levels,
    Prediction,
    Schedule,
    ScoreOf,
    Solver,
    SolverSteps,
    TimeSteps,
    Validation,
    WeightDecay,
    Weighting,
    image_of,
)  # fmt: skip
from .options import Folder, Json, Seed, Server, connect
from .output import identifier, print_facts, print_json, print_rows, say
from .training import (
    AnnealingRate,
    BatchSize,
    Device,
    DiffusionRate,
    Ema,
    GoalEssFraction,
    GoalGap,
    Integrator,
    Iterations,
    LearnAnnealing,
    LearnDiffusion,
    LearningRate,
    LearnPrior,
    LearnTime,
    Loss,
    Method,
    Precision,
    Precondition,
    Preset,
    PriorRate,
    RewardToGo,
    Samples,
    Seconds,
    Start,
    Steps,
    TargetEvaluations,
    TimeRate,
    Width,
    Workers,
)  # fmt: skip

__all__ = ["app", "jobs", "train", "watch"]

app = typer.Typer()
app.command("delete")(delete)

_Name = Annotated[str, typer.Argument(help="Id of the job, as `gephyra jobs` lists it.")]


def train(
    target: Annotated[str | None, typer.Argument(help="Name or id of the target.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name or id of a data set to model instead.")] = None,
    preset: Preset = None, seconds: Seconds = None, iterations: Iterations = None,
    target_evaluations: TargetEvaluations = None, goal_ess_fraction: GoalEssFraction = None, goal_gap: GoalGap = None,
    method: Method = None, loss: Loss = None, precondition: Precondition = None, integrator: Integrator = None,
    start: Start = None, samples: Samples = None, steps: Steps = None, width: Width = None,
    batch_size: BatchSize = None, learning_rate: LearningRate = None, learn_diffusion: LearnDiffusion = None,
    learn_prior: LearnPrior = None, learn_annealing: LearnAnnealing = None, learn_time: LearnTime = None,
    diffusion_rate: DiffusionRate = None, prior_rate: PriorRate = None, annealing_rate: AnnealingRate = None,
    time_rate: TimeRate = None, reward_to_go: RewardToGo = None, ema: Ema = None, seed: Seed = 0, device: Device = None,
    precision: Precision = None, workers: Workers = None, prediction: Prediction = None, weighting: Weighting = None,
    schedule: Schedule = None, levels: Levels = None, head: Head = None, time_steps: TimeSteps = None,
    high: High = None, blocks: Blocks = None,
    image: Image = None, weight_decay: WeightDecay = None, validation: Validation = None, solver: Solver = None,
    solver_steps: SolverSteps = None, score_of: ScoreOf = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait (with --server only).")] = False,
    server: Server = None, folder: Folder = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Train a sampler on a target, or a model of a data set, and wait for it.

    A budget and a target or a data set are enough; what is not given is the server's default. Training that reaches a
    goal ends before its budget.

    Example: `gephyra train my-funnel --method dbs --loss rkl-ld --seconds 60 --folder runs`

    Then, from where that got to: `gephyra train my-funnel --start SAMPLER --preset thorough --folder runs`

    From draws of it: `gephyra train my-funnel --samples my-draws --folder runs`

    Of data: `gephyra train --dataset my-data --method denoising --seconds 60 --folder runs`

    Of draws of a target: `gephyra train --dataset my-draws --score-of my-funnel --seconds 60 --folder runs`
    """
    subject = _subject(target, dataset, detach and server is None)
    with connect(server, folder) as client:
        job = client.train(
            subject, method, loss, precondition, preset=preset, seconds=seconds, iterations=iterations,
            target_evaluations=target_evaluations, goal_ess_fraction=goal_ess_fraction, goal_gap=goal_gap, start=start,
            samples=samples, seed=seed, steps=steps, batch_size=batch_size, width=width, integrator=integrator,
            learning_rate=learning_rate, learn_diffusion=learn_diffusion, learn_prior=learn_prior,
            learn_annealing=learn_annealing, learn_time=learn_time, diffusion_rate=diffusion_rate,
            prior_rate=prior_rate, annealing_rate=annealing_rate, time_rate=time_rate, reward_to_go=reward_to_go,
            ema=ema, device=device, precision=precision, workers=workers, prediction=prediction, weighting=weighting,
            schedule=schedule, levels=levels, head=head, time_steps=time_steps, high=high, blocks=blocks,
            image=image_of(image), weight_decay=weight_decay, validation=validation, solver=solver,
            solver_steps=solver_steps, score_of=score_of,
        )  # fmt: skip
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

    Example: `gephyra watch job-0a1b2c3d4e5f --server localhost:50051`
    """
    with connect(server, folder) as client:
        job = client.job(name)
        if not as_json:
            _report(job.result(), job.name, as_json)
            return
        for event in job.watch(after):
            print_json(event.to_json())
        job.outcome()


@app.callback(invoke_without_command=True)
def jobs(context: typer.Context, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """List all training jobs, or delete one.

    Example: `gephyra jobs --folder runs`
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    with connect(server, folder) as client:
        listed = client.jobs()
    if as_json:
        print_json([job.to_json() for job in listed])
        return
    rows = [
        (
            identifier(job.name),
            job.state.value,
            identifier(job.target or job.dataset),
            identifier(job.sampler_name),
            _progress(job),
        )
        for job in listed
    ]
    print_rows(("job", "state", "of", "sampler", "progress"), rows, names=("of", "sampler"))


def _progress(job: Job) -> str:
    """How a job that is not finished gets on."""
    return summary(job.metrics) if job.metrics is not None and not job.state.final else job.message.error.message


def _report(sampler: SamplerHandle, job: str, as_json: bool) -> None:
    """What was trained, and how good it is."""
    model = sampler.report
    if model is not None:
        if as_json:
            print_json({"job": job, "sampler": sampler.name, "dataset": sampler.dataset, **model.to_json()})
            return
        print_facts(sampler.name, [("data set", sampler.dataset), *model.rows()])
        for warning in model.warnings:
            say(f"warning: {warning}")
        return
    evidence = sampler.evidence()
    if as_json:
        print_json({"job": job, "sampler": sampler.name, "target": sampler.target, **evidence.to_json()})
        return
    print_facts(sampler.name, [("target", sampler.target), *evidence.rows()])
    for warning in evidence.warnings:
        say(f"warning: {warning}")


def _refuse_options_before(context: typer.Context) -> None:
    """The subcommand would not see them, and might ask another server. Raises InvalidArgument."""
    for name in ("server", "folder", "as_json"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            sentence = f"options belong after the subcommand: gephyra jobs {context.invoked_subcommand} NAME ..."
            raise InvalidArgument(sentence, violations=[Violation(name, sentence)])


def _subject(target: str | None, dataset: str | None, alone: bool) -> str:
    """Name of what is trained on. Raises InvalidArgument unless there is one, and for a job nobody would run."""
    if alone:
        sentence = "--detach needs --server: a server of one's own ends with this command"
        raise InvalidArgument(sentence, violations=[Violation("detach", sentence)])
    if target is not None and dataset is None:
        return target
    if dataset is not None and target is None:
        return dataset if "/" in dataset else f"datasets/{dataset}"
    sentence = "give a TARGET to sample, or --dataset NAME to model; one of them, not both"
    raise InvalidArgument(sentence, violations=[Violation("target", sentence)])
