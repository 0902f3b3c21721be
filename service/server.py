"""Assembles one server: store, workers, services, health and reflection; and takes it down in order."""

import asyncio
import logging
import re
import socket
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from sqlalchemy import Connection

from gephyra.protos import (
    blob_service_pb2,
    blob_service_pb2_grpc,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    meta_service_pb2,
    meta_service_pb2_grpc,
    sampler_service_pb2,
    sampler_service_pb2_grpc,
    target_service_pb2,
    target_service_pb2_grpc,
    training_service_pb2,
    training_service_pb2_grpc,
)

from . import jobs
from .admin import Admin
from .admission import Admission
from .blob_service import BlobService
from .bus import Bus
from .checks import Checks
from .clock import Clock
from .collector import Collector, push
from .config import TENANT, ServerConfig, Timings
from .core import Core
from .dataset_service import DatasetService
from .draw_cache import DrawCache
from .executor import Executor, LocalExecutor
from .holdings import open_holdings
from .home import bind_objects, open_store, refuse_other_objects
from .housekeeping import Housekeeping
from .importing import Importer
from .interceptor import CallInterceptor
from .meta_service import MetaService
from .metrics import Metrics
from .neighbours import Neighbours, clean, sweep_jobs
from .objects import open_objects
from .pool import Pool
from .presence import Presence
from .sampler_service import SamplerService
from .sampling_service import SamplingService
from .sending import Lanes
from .store import blobs, datasets, idempotency
from .store import jobs as job_store
from .supervisor import Supervisor
from .target_service import TargetService
from .tracing import NoTracing, Tracing
from .training_service import TrainingService

__all__ = ["CannotListen", "Server"]

logger = logging.getLogger(__name__)

_SERVICES = (
    *blob_service_pb2.DESCRIPTOR.services_by_name.values(),
    *dataset_service_pb2.DESCRIPTOR.services_by_name.values(),
    *meta_service_pb2.DESCRIPTOR.services_by_name.values(),
    *sampler_service_pb2.DESCRIPTOR.services_by_name.values(),
    *target_service_pb2.DESCRIPTOR.services_by_name.values(),
    *training_service_pb2.DESCRIPTOR.services_by_name.values(),
)


# Without a sign of life of a server on another machine, at least, before it may be taken for dead.
_SILENCE_SECONDS = 60.0


class CannotListen(Exception):
    """The address is taken or not one of this machine."""


class Server:
    """One server on one data folder, whose lock the caller holds, or shares. `start` once, `stop` once.

    Attributes:
        admin_address: `host:port` of the admin port once it was started; empty without one.
    """

    def __init__(
        self, config: ServerConfig, tracing: Tracing | None = None, executor: Executor | None = None,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        data, logs, executor = config.data, _logs(config), executor or LocalExecutor()
        logs.mkdir(parents=True, exist_ok=True)
        objects = open_objects(config.artefacts_url)
        refuse_other_objects(data, objects)
        store = open_store(data, config.database_url)
        try:
            bind_objects(data, objects, store)
        except BaseException:
            store.close()
            raise
        self._presence = Presence(data / "servers", max(config.timings.lease, _SILENCE_SECONDS))
        owner = self._presence.owner
        self._holdings = held = open_holdings(data, objects, owner)
        metrics, tracing = Metrics(), tracing or NoTracing()
        pool = Pool(config.draw_workers, held.artefacts.folder, logs, tracing, executor)
        self._core = Core(
            config, store, held.artefacts, held.uploads, held.datasets, pool, Bus(), clock or Clock(), metrics, tracing,
            Lanes(), DrawCache(config.draw_cache_bytes), executor, owner=owner, dead=self._presence.dead,
        )  # fmt: skip
        # In this order: of one that dies now nothing is forgotten.
        self._dead = self._presence.dead()
        clean(self._core, self._presence)
        self._count()
        self.admin_address = ""
        self._admin: Admin | None = None
        self._checks = Checks(self._core)
        self._collector = Collector(self._core, self._holdings)
        self._supervisor = Supervisor(self._core)
        self._housekeeping = Housekeeping(self._core)
        self._neighbours = Neighbours(self._core, self._supervisor, self._checks, self._presence)
        self._health = health.aio.HealthServicer()
        admission = Admission(config.limits, config.timings.call, metrics)
        interceptor = CallInterceptor(metrics, tracing, admission)
        self._server = grpc.aio.server(interceptors=[interceptor], options=_options(config.timings))
        self._add_services()

    async def start(self) -> str:
        """Begin to serve; returns the address, with the port that was found for port 0. Raises CannotListen."""
        core = self._core
        horizon = core.clock() - int(core.config.timings.idempotency * 1e6)
        await core.store.write(idempotency.forget_before, horizon)
        await core.store.write(_tidy, core)
        await asyncio.to_thread(push, core, self._holdings)
        address = self._listen(core.config.address)
        self._admin = self._open_admin()
        await self._supervisor.start()
        # Before anybody can ask for a job whose folder comes before its row.
        await sweep_jobs(core)
        await self._server.start()
        await self._checks.start()
        await asyncio.to_thread(self._presence.forget, self._dead)
        await self._neighbours.start()
        self._housekeeping.start()
        await self._collector.start()
        return address

    async def stop(self) -> None:
        """Drain: say so, begin nothing new, bring workers to a checkpoint, end calls, close the store."""
        self._core.stopping = True
        self._core.store.hurry()
        await self._health.enter_graceful_shutdown()
        await self._housekeeping.stop()
        await self._neighbours.stop()
        await self._supervisor.drain()
        await self._checks.drain()
        await self._collector.drain()
        # Only now: a watcher hears of the last checkpoint, and then that the server stops.
        self._core.bus.publish_all()
        await self._server.stop(self._core.config.timings.shutdown_grace)
        left = await self._leaves_jobs()
        await self._core.pool.close()
        await self._core.executor.close()
        if self._admin is not None:
            await asyncio.to_thread(self._admin.close)
        await asyncio.to_thread(self._core.store.close)
        await asyncio.to_thread(self._core.tracing.close)
        self._presence.close(left=left)

    async def _leaves_jobs(self) -> bool:
        """Whether a job is still this server's, because the database could not be told."""
        try:
            return self._core.owner in await self._core.store.read(jobs.owners)
        except Exception:
            return True

    def _count(self) -> None:
        core = self._core
        core.store.on_write = core.metrics.write_seconds.observe
        core.metrics.watch_slots("drawing", core.pool.size, lambda: core.pool.busy)
        core.metrics.watch_jobs(lambda: core.store.read_now(job_store.counts, TENANT))

    def _open_admin(self) -> Admin | None:
        if self._core.config.admin is None:
            return None
        host, port = self._core.config.admin
        try:
            admin = Admin(host, port, self._core.metrics.registry, lambda: not self._core.stopping)
        except OSError as error:
            raise CannotListen(f"cannot listen on {host}, port {port}, for administration: {error}") from None
        self.admin_address = f"[{host}]:{admin.port}" if ":" in host else f"{host}:{admin.port}"
        return admin

    def _listen(self, address: str) -> str:
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address}: {error}") from None
        if address.startswith("unix:"):
            # The socket speaks for its owner.
            Path(address.removeprefix("unix:")).chmod(0o600)
            return address
        return f"{address.rpartition(':')[0]}:{port}"

    def _add_services(self) -> None:
        core, server = self._core, self._server
        importer = Importer(core, self._checks)
        target_service_pb2_grpc.add_TargetServiceServicer_to_server(TargetService(core, self._checks), server)
        blob_service_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(core), server)
        dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetService(core), server)
        training_service_pb2_grpc.add_TrainingServiceServicer_to_server(TrainingService(core, self._supervisor), server)
        sampler_service_pb2_grpc.add_SamplerServiceServicer_to_server(SamplerService(core, importer), server)
        sampler_service_pb2_grpc.add_SamplingServiceServicer_to_server(SamplingService(core), server)
        meta_service_pb2_grpc.add_MetaServiceServicer_to_server(MetaService(core), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [service.full_name for service in _SERVICES]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)


def _options(timings: Timings) -> list[tuple[str, int]]:
    return [
        # gRPC's own default cuts off who pings more often than every five minutes.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(1000 * timings.ping)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_connection_age_ms", int(1000 * timings.connection_age)),
        ("grpc.max_connection_age_grace_ms", int(1000 * timings.connection_grace)),
        # Two servers on one port would each get a part of the calls.
        ("grpc.so_reuseport", 0),
    ]


def _logs(config: ServerConfig) -> Path:
    """Where workers write: each of several servers has a place of its own, the same in all its lives."""
    logs = config.data / "logs"
    if not config.database_url:
        return logs
    return logs / re.sub(r"[^\w.-]+", "-", f"{socket.gethostname()}-{config.address}")


def _tidy(connection: Connection, core: Core) -> None:
    """Drop blobs that nobody took, and contents that were never finished or deleted in part when a server ended."""
    for sha256 in core.uploads.sweep(core.clock() / 1e6 - core.config.timings.blob):
        blobs.remove(connection, TENANT, sha256)
    for sha256 in set(core.datasets.digests()) - datasets.contents(connection):
        core.datasets.drop(sha256)
