"""Runs queued jobs as far as there are slots, in the order of the queue (`queue`)."""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress

from google.rpc import code_pb2

from . import jobs
from .attempt import Attempt, Stop, Superseded
from .core import Core
from .crash import Place, crash_point
from .errors import Failure, Reason, Unavailable
from .following import follow_attempt
from .full import MESSAGE, is_full
from .slots import Slots, slots_of
from .store.records import JobRecord, JobState
from .workspace import settle

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

# Before the store is tried again where it could not be written.
_PAUSE_SECONDS = 1.0


class Supervisor:
    """Turns QUEUED jobs into attempts until it is drained."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wake = asyncio.Event()
        self._attempts: dict[str, Attempt] = {}
        self._slots = slots = Slots(core.config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduler: asyncio.Task[None] | None = None
        core.metrics.watch_slots("training", core.config.running_jobs, lambda: slots.held)
        core.metrics.watch_slots("cpu", core.config.cpu_slots, lambda: slots.cpus_held)
        if core.config.gpus is not None:
            core.metrics.watch_slots("gpu", len(core.config.gpus), lambda: slots.gpus_held)

    async def start(self) -> None:
        """Put back what an earlier server left running, and begin."""
        core = self._core
        if core.store.place.shared:
            await core.store.write(jobs.take_back, core.clock(), await asyncio.to_thread(core.dead), {})
        else:
            await core.store.write(jobs.recover, core.clock())
        crash_point(Place.RECOVERED)
        self._scheduler = asyncio.create_task(self._schedule())
        self.wake()

    @property
    def running(self) -> Collection[str]:
        """Jobs whose attempts are here."""
        return frozenset(self._attempts)

    def wake(self) -> None:
        """There may be a job to run."""
        self._wake.set()

    def cancel(self, name: str) -> None:
        """Stop the worker of a job whose state is CANCELLING."""
        if name in self._attempts:
            self._attempts[name].stop(Stop.CANCEL)

    def pause(self, name: str) -> None:
        """Stop the worker of a job whose pause was asked for, at a checkpoint."""
        if name in self._attempts:
            self._attempts[name].stop(Stop.PAUSE)

    async def drain(self) -> None:
        """Start nothing more; stop every worker at a checkpoint, or without one when time is up."""
        if self._scheduler is not None:
            self._scheduler.cancel()
            await asyncio.gather(self._scheduler, return_exceptions=True)
        for attempt in self._attempts.values():
            attempt.stop(Stop.DRAIN)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._core.config.timings.drain)
            for attempt in self._attempts.values():
                attempt.kill()
            await asyncio.gather(*late, return_exceptions=True)

    async def _schedule(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._fill()
            except Exception as error:
                # Without this task no job would ever run again.
                _complain("no job can be begun; trying again", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                self.wake()

    async def _fill(self) -> None:
        """Begin jobs while there are some, and room."""
        core = self._core
        while not self._slots.free.full:
            # Shielded: a claim that was committed must be followed by its attempt, also while draining.
            claimed = asyncio.create_task(
                core.store.write(jobs.claim, core.clock(), core.owner, core.lease_end(), self._slots.offer)
            )
            try:
                job = await asyncio.shield(claimed)
            except asyncio.CancelledError:
                # A refusal now must not take the place of the cancellation.
                with suppress(Exception):
                    self._begin(await claimed)
                raise
            if not self._begin(job):
                break

    def _begin(self, job: JobRecord | None) -> bool:
        if job is None:
            return False
        crash_point(Place.JOB_CLAIMED)
        holder = (job.name, job.attempt)
        grant = self._slots.take(holder, slots_of(job.settings, self._core.config))
        attempt = Attempt(self._core, job, self._core.config.threads, grant.environment)
        self._attempts[job.name] = attempt
        self._core.bus.publish(job.name)
        task = asyncio.create_task(self._run(attempt, holder))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(self, attempt: Attempt, holder: tuple[str, int]) -> None:
        name = attempt.job.name
        try:
            # What was asked for between the claim and this moment found no attempt to stop.
            job = await self._core.store.read(jobs.find, name)
            if job.state is JobState.CANCELLING:
                attempt.stop(Stop.CANCEL)
            elif job.pausing:
                attempt.stop(Stop.PAUSE)
            async with follow_attempt(self._core, attempt.job) as traceparent:
                await attempt.run(traceparent)
        except Superseded:
            logger.warning("attempt %d of %s is not the current one any more", attempt.job.attempt, name)
        except Unavailable as error:
            _complain(f"attempt {attempt.job.attempt} of {name}", error)
            # What is away is not back at once.
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._insist(jobs.put_back, attempt.job)
        except Exception as error:
            logger.exception("attempt %d of %s", attempt.job.attempt, name)
            await self._give_up(attempt.job, error)
        finally:
            # The next attempt may have begun: the worker of this one was being waited for.
            if self._attempts.get(name) is attempt:
                del self._attempts[name]
            self._slots.release(holder)
            self.wake()

    async def _give_up(self, job: JobRecord, error: Exception) -> None:
        failure = Failure(code_pb2.INTERNAL, Reason.INTERNAL, f"the server could not run the job: {error}")
        if is_full(error):
            failure = Failure(code_pb2.RESOURCE_EXHAUSTED, Reason.STORAGE_FULL, MESSAGE)
        if await self._insist(jobs.fail, job, failure):
            await asyncio.to_thread(settle, self._core.job_folder(job.name), JobState.FAILED)

    async def _insist(self, change: Callable[..., object], job: JobRecord, *arguments: object) -> bool:
        """Store how an attempt ended; whether that was accepted.

        The job must not stay RUNNING without a worker, so this is tried until it can be stored, or by the next start.
        """
        while not self._core.stopping:
            try:
                accepted = await self._core.store.write(change, job, *arguments, self._core.clock())
            except Exception as error:
                _complain(f"the end of attempt {job.attempt} of {job.name} cannot be stored; trying again", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._core.bus.publish(job.name)
            return bool(accepted)
        return False


def _complain(what: str, error: Exception) -> None:
    """With a traceback, unless the error says by itself what is wrong."""
    logger.warning("%s: %s", what, error, exc_info=not isinstance(error, Unavailable))
