"""Checks targets after their registration: READY or REJECTED, in the background and again after a restart.

Where several servers share the database one of them checks a target: who has its lease.
"""

import asyncio
import logging
from contextlib import suppress

from google.rpc import code_pb2

from gephyra.protos import worker_pb2

from .config import TENANT
from .convert import from_site
from .core import Core
from .crash import Place, crash_point
from .definitions import draw_bytes
from .errors import DeadlineExceeded, Failure, Reason, ServiceError, Unavailable, busy, status_failure
from .full import is_full
from .handing import target_path
from .store import targets
from .store.records import TargetRecord, TargetState

__all__ = ["Checks"]

logger = logging.getLogger(__name__)

# A target that kills its worker this often is taken to be the cause.
_MAX_DEATHS = 3
# Before an outcome is stored again that could not be stored.
_PAUSE_SECONDS = 1.0
# Who waits for the check of another server looks again so often, if no news come.
_LOOK_SECONDS = 1.0
# Renewals within the life of a lease.
_RENEWALS = 3


class Checks:
    """Background checks, one task a target."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check what an earlier server left CHECKING, or one that is dead."""
        if self._core.store.place.shared and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        for name in await self._core.store.read(targets.checking, TENANT):
            await self.begin(name)

    async def begin(self, name: str) -> None:
        """Check a target in the background, if it waits for that and no other server does."""
        target = await self._core.store.read(targets.find, TENANT, name)
        if (
            target is not None
            and target.state is TargetState.CHECKING
            and await self._may(target.uid)
            and target.uid not in self._tasks
            and not self._core.stopping
        ):
            task = asyncio.create_task(self._check(target))
            self._tasks[target.uid] = task
            task.add_done_callback(lambda _: self._tasks.pop(target.uid, None))

    def refuse_if_busy(self) -> None:
        """Raises ResourceExhausted (SERVER_BUSY) while as many targets wait for their check as may."""
        most = self._core.config.limits.max_work_calls
        if len(self._tasks) >= most:
            raise busy("targets wait for their check", "max_work_calls", most)

    async def wait(self, target: TargetRecord) -> None:
        """Until the check of this target is over, or the server stops."""
        with self._core.bus.subscribe(target.name) as wake:
            while not self._core.stopping:
                wake.clear()
                found = await self._core.store.read(targets.find, TENANT, target.name)
                if found is None or found.uid != target.uid or found.state is not TargetState.CHECKING:
                    return
                await self.begin(target.name)
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), _LOOK_SECONDS)

    async def drain(self) -> None:
        """Give up; what is CHECKING stays so, and another server may take it."""
        tasks = [*self._tasks.values(), *([self._renewing] if self._renewing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._core.store.place.shared:
            # If not, the lease will run out.
            with suppress(Exception):
                await self._core.store.write(targets.release, TENANT, self._core.owner)

    async def _may(self, uid: str) -> bool:
        """Whether this server is to check the target."""
        core = self._core
        if uid in self._tasks or not core.store.place.shared:
            return True
        dead, seconds = await asyncio.to_thread(core.dead), core.config.timings.lease
        return await core.store.write(targets.claim, TENANT, uid, core.owner, seconds, core.clock(), dead)

    async def _renew(self) -> None:
        core = self._core
        seconds = core.config.timings.lease
        while True:
            await asyncio.sleep(seconds / _RENEWALS)
            try:
                if self._tasks:
                    await core.store.write(targets.renew, TENANT, core.owner, seconds, core.clock())
            except Exception as error:
                # Then another server may check too, and finds the same.
                logger.warning("the leases of checks are not renewed: %s", error)

    async def _check(self, target: TargetRecord) -> None:
        try:
            await self._decide(target, await self._ask(target))
            crash_point(Place.CHECK_STORED)
        except ServiceError as error:
            logger.warning("check of %s: %s", target.name, error)
        except Exception as error:
            logger.exception("check of %s", target.name)
            failure = Failure(code_pb2.INTERNAL, Reason.INTERNAL, f"the server could not check the target: {error}")
            await self._decide(target, failure)

    async def _decide(self, target: TargetRecord, outcome: worker_pb2.WorkerEvent.Checked | Failure) -> None:
        await self._store_outcome(target, outcome)
        self._core.bus.publish(target.name)

    async def _store_outcome(self, target: TargetRecord, outcome: worker_pb2.WorkerEvent.Checked | Failure) -> None:
        """As soon as that can be done, where the disk is full."""
        while True:
            try:
                if isinstance(outcome, Failure):
                    return await self._core.store.write(targets.set_rejected, TENANT, target.uid, outcome)
                sites = tuple(from_site(site, "sites") for site in outcome.sites)
                log_z = outcome.log_z if outcome.HasField("log_z") else None
                return await self._core.store.write(targets.set_ready, TENANT, target.uid, outcome.dim, log_z, sites)
            except Exception as error:
                if not is_full(error):
                    raise
                logger.error("the check of %s cannot be stored: %s", target.name, error)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, target: TargetRecord) -> worker_pb2.WorkerEvent.Checked | Failure:
        path, deaths = await target_path(self._core, target.digest), 0
        while True:
            command = worker_pb2.WorkerCommand(check=worker_pb2.WorkerCommand.Check(target_path=path))
            try:
                event = await self._core.pool.ask(command, self._core.config.timings.check, key=path)
            except DeadlineExceeded as error:
                return Failure(code_pb2.DEADLINE_EXCEEDED, error.reason, error.message, "definition")
            except Unavailable as error:
                deaths += 1
                if error.reason != Reason.WORKER_DIED:
                    raise
                if deaths >= _MAX_DEATHS:
                    return Failure(code_pb2.INVALID_ARGUMENT, error.reason, error.message, "definition")
                continue
            if event.WhichOneof("event") == "failed":
                return status_failure(event.failed)
            return self._within_limits(event.checked)

    def _within_limits(self, checked: worker_pb2.WorkerEvent.Checked) -> worker_pb2.WorkerEvent.Checked | Failure:
        limits = self._core.config.limits
        if not 1 <= checked.dim <= limits.max_dim:
            message = f"expected a dimension from 1 to {limits.max_dim}, got {checked.dim}"
            return Failure(code_pb2.INVALID_ARGUMENT, Reason.DIM_OUT_OF_RANGE, message, "definition")
        size = draw_bytes(checked.dim, [from_site(site, "sites") for site in checked.sites])
        if size > limits.max_draw_bytes:
            message = f"one draw with its sites has {size} bytes, at most {limits.max_draw_bytes} fit a message"
            return Failure(code_pb2.INVALID_ARGUMENT, Reason.PROGRAM_TOO_LARGE, message, "definition")
        return checked
