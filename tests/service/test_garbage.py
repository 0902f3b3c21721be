"""Garbage collection: what rows need stays, all else goes once it is old, whatever came before."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gephyra.protos import target_service_pb2
from gephyra.service.bus import Bus
from gephyra.service.collector import Collector
from gephyra.service.config import TENANT, ServerConfig, Timings
from gephyra.service.core import Core
from gephyra.service.garbage import Rows, Swept, sweep
from gephyra.service.holdings import open_holdings
from gephyra.service.objects import NoObjects, open_objects
from gephyra.service.pool import Pool
from gephyra.service.reach import needed
from gephyra.service.store import blobs, targets
from gephyra.service.store.database import Store
from gephyra.service.store.roots import roots
from tests.support.world import World, target, wipe

DAY = 24 * 3600.0


DEEDS: tuple[Callable[[World, int], None], ...] = (
    World.register, World.train, World.begin, World.import_array, World.upload, World.make_dataset,
    World.delete_target, World.delete_sampler, World.delete_job, World.delete_dataset, World.orphan,
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("rows") / "db")
    yield store
    store.close()


@pytest.fixture
def world(tmp_path: Path, shared: Store) -> World:
    shared.write_now(wipe)
    return World(tmp_path, shared)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 99)), max_size=25))
def test_what_is_needed_stays_and_all_else_goes(shared: Store, history: list[tuple[Callable[..., None], int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shared.write_now(wipe)
        world = World(Path(folder), shared)
        for deed, pick in history:
            deed(world, pick)
        age(world.data)
        wanted, before = world.wanted(), files(world.data)
        # As after a restart: nothing is known of what was used.
        world.holdings = open_holdings(world.data, NoObjects())
        foreseen = collect(world, dry=True)
        assert files(world.data) == before
        done = collect(world)
        assert done == foreseen
        # A waiting blob may also lie among the artefacts, where a target took it; uploads wait by their own age.
        uploads = {name for name in before if name.startswith("artefacts/uploads")}
        assert set(files(world.data)) - uploads == wanted - uploads
        assert done.unreadable == ()
        assert collect(world).pieces == ()


def test_sizes_are_told(world: World) -> None:
    world.orphan(1)
    age(world.data)
    world.holdings = open_holdings(world.data, NoObjects())
    swept = collect(world)
    assert [piece.size for piece in swept.pieces] == [7, 7]
    assert swept.size == 14
    assert {piece.name.rpartition("/sha256/")[0] for piece in swept.pieces} == {"artefacts", "artefacts/datasets"}


def test_the_young_stay(world: World) -> None:
    world.orphan(1)
    world.holdings = open_holdings(world.data, NoObjects())
    assert collect(world).pieces == ()
    assert len(collect(world, grace=0.0).pieces) == 2


def test_uploads_wait_a_day_whatever_the_grace(world: World) -> None:
    world.upload(1)
    with world.holdings.uploads.begin("ab" * 32) as upload:
        upload.write(b"a beginning")
    assert collect(world, grace=0.0).pieces == ()
    age(world.data)
    world.holdings = open_holdings(world.data, NoObjects())
    assert sorted(piece.size for piece in collect(world, grace=0.0).pieces) == [5, 11]


def test_old_blobs_are_forgotten_and_those_sent_again_are_not(world: World, shared: Store) -> None:
    for digest in ("old", "again"):
        shared.write_now(blobs.add, TENANT, digest, 5, 1)
    shared.write_now(blobs.add, TENANT, "again", 5, int(time.time() * 1e6))
    collect(world)
    assert shared.read_now(blobs.size, TENANT, "old") is None
    assert shared.read_now(blobs.size, TENANT, "again") == 5


def by_put(world: World, digest: str) -> None:
    assert world.holdings.artefacts.put(b"shared") == digest


def by_adoption(world: World, digest: str) -> None:
    uploads = world.holdings.uploads.whole
    world.holdings.artefacts.adopt(uploads.path(uploads.put(b"shared")), digest)


def by_adoption_of_what_is_there(world: World, digest: str) -> None:
    world.holdings.artefacts.adopt(world.data / "nowhere", digest)


def by_holding(world: World, digest: str) -> None:
    assert world.holdings.artefacts.hold(digest) == 6


@pytest.mark.parametrize("store_again", [by_put, by_adoption, by_adoption_of_what_is_there, by_holding])
def test_a_registration_between_mark_and_sweep_keeps_its_content(
    world: World, shared: Store, store_again: Callable[[World, str], None]
) -> None:
    """It finds old content that no row names, takes it for its own, and writes its row after the sweep."""
    digest = world.holdings.artefacts.put(b"shared")
    age(world.data)
    # The clock may even have been set forward meanwhile.
    for now in (time.time(), time.time() + 2 * DAY):
        held = world.holdings = open_holdings(world.data, NoObjects())

        def read(function: Callable[..., object], *arguments: object) -> object:
            found = shared.read_now(function, *arguments)
            store_again(world, digest)
            return found

        swept = sweep(held, Rows(read, shared.write_now), now, DAY)  # type: ignore[arg-type]
        assert held.artefacts.size(digest) == 6
        assert digest not in str(swept.pieces)


def test_without_a_registration_the_same_content_goes(world: World, shared: Store) -> None:
    digest = world.holdings.artefacts.put(b"shared")
    age(world.data)
    world.holdings = open_holdings(world.data, NoObjects())
    assert [digest in piece.name for piece in collect(world).pieces] == [True]


def test_a_sampler_in_use_stays_although_it_was_deleted(world: World) -> None:
    digest = world.holdings.artefacts.put(b"weights")
    age(world.data)
    world.holdings = open_holdings(world.data, NoObjects())
    asyncio.run(world.holdings.artefacts.present(digest))
    assert collect(world).pieces == ()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"other")])
def test_nothing_goes_while_a_definition_cannot_be_read(world: World, damage: Callable[[Path], object]) -> None:
    world.register(7)
    world.orphan(1)
    age(world.data)
    (name,) = world.targets
    found = world.store.read_now(targets.find, TENANT, name)
    assert found is not None
    damage(world.holdings.artefacts.path(found.digest))
    before = files(world.data / "artefacts/sha256")
    world.holdings = open_holdings(world.data, NoObjects())
    swept = collect(world)
    assert swept.unreadable == (found.digest,)
    assert files(world.data / "artefacts/sha256") == before
    assert [piece.name.startswith("artefacts/datasets/") for piece in swept.pieces] == [True]


def test_a_model_as_a_target_needs_its_file(world: World, shared: Store) -> None:
    weights = world.holdings.artefacts.put(b"weights of a model")
    model = target_service_pb2.TargetDefinition()
    model.model.blob = f"blobs/{weights}"
    digest = world.holdings.artefacts.put(model.SerializeToString())
    shared.write_now(targets.add, TENANT, target("as-target", digest))
    reach = needed(shared.read_now(roots, 0), world.holdings.artefacts.peek)
    assert reach.artefacts == {weights, digest}


def test_objects_go_too(world: World, tmp_path: Path) -> None:
    objects = open_objects(f"file://{tmp_path / 'bucket'}")
    world.holdings = open_holdings(world.data, objects)
    world.register(1)
    kept = {each.key for each in objects.stored("sha256/")}
    world.orphan(3)
    age(tmp_path)
    world.holdings = open_holdings(world.data, objects)
    foreseen = collect(world, dry=True)
    done = collect(world)
    assert done == foreseen
    assert len(done.pieces) == 4
    assert {each.key for each in objects.stored("sha256/")} == kept
    assert list(objects.stored("datasets/")) == []
    assert collect(world).pieces == ()


async def test_a_running_server_sweeps_from_time_to_time(world: World, shared: Store) -> None:
    world.register(1)
    world.orphan(1)
    timings = Timings(collect=0.05, grace=0.0)
    held = world.holdings
    core = Core(
        ServerConfig(world.data, "127.0.0.1:0", timings=timings), shared, held.artefacts, held.uploads, held.datasets,
        Pool(1, held.artefacts.folder, world.data), Bus(), lambda: time.time_ns() // 1000,
    )  # fmt: skip
    collector, wanted = Collector(core, held), world.wanted()
    await collector.start()
    deadline = time.monotonic() + 20
    while set(files(world.data)) != wanted:
        assert time.monotonic() < deadline, files(world.data)
        await asyncio.sleep(0.02)
    core.stopping = True
    await collector.drain()


def collect(world: World, grace: float = DAY, dry: bool = False) -> Swept:
    store = world.store
    return sweep(world.holdings, Rows(store.read_now, None if dry else store.write_now), time.time(), grace)


def age(folder: Path) -> None:
    """All below is two days old."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - 2 * DAY,) * 2)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
