"""Commands that stop a training job, let it go on, or do away with it."""

from typing import Annotated

import typer

from ..errors import InvalidArgument, Violation
from ..sync import Client, Job
from .options import Folder, Json, Server, connect
from .output import print_json, say

__all__ = ["cancel", "delete", "pause", "resume", "retry"]

_Name = Annotated[str, typer.Argument(help="Id of the job, as `gephyra jobs` lists it.")]


def pause(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Stop a training job at a checkpoint, to go on from there with `gephyra resume`.

    Example: `gephyra pause job-0a1b2c3d4e5f --server localhost:50051`
    """
    with connect(server, folder) as client:
        job = client.job(name).pause()
    _tell(job, as_json)


def resume(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Let a paused training job go on.

    Example: `gephyra resume job-0a1b2c3d4e5f --server localhost:50051`
    """
    with connect(server, folder) as client:
        _refuse_alone(client, "resume")
        job = client.job(name).resume()
    _tell(job, as_json)


def cancel(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Stop a training job for good.

    Example: `gephyra cancel job-0a1b2c3d4e5f --server localhost:50051`
    """
    with connect(server, folder) as client:
        job = client.job(name).cancel()
    _tell(job, as_json)


def retry(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Make a new job of one that failed or was cancelled; after a failure it goes on from the last checkpoint.

    Example: `gephyra retry job-0a1b2c3d4e5f --server localhost:50051`
    """
    with connect(server, folder) as client:
        _refuse_alone(client, "retry")
        job = client.job(name).retry()
    print_json(job.to_json()) if as_json else say(f"started {job.name}; to watch it: gephyra watch {job.name}")


def delete(name: _Name, server: Server = None, folder: Folder = None, as_json: Json = False) -> None:
    """Delete a training job that has ended, with its log and checkpoints. Its sampler stays.

    Example: `gephyra jobs delete job-0a1b2c3d4e5f --server localhost:50051`
    """
    with connect(server, folder) as client:
        job = client.job(name)
        job.delete()
    print_json({"deleted": job.name}) if as_json else say(f"deleted {job.name}")


def _refuse_alone(client: Client, command: str) -> None:
    """Raises InvalidArgument where the server ends with this command: nobody would run the job."""
    if client.embedded:
        sentence = f"{command} needs --server: a server of one's own ends with this command"
        raise InvalidArgument(sentence, violations=[Violation("folder", sentence)])


def _tell(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job.to_json())
    else:
        say(f"{job.name} will pause" if job.pausing else f"{job.name} is {job.state.told}")
