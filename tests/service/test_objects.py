"""Stores of objects: one contract for all; and artefacts over them, of which the folder is a copy."""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gephyra.service.artefacts import Artefacts, CorruptArtefact
from gephyra.service.errors import Reason, Unavailable
from gephyra.service.objects import NoObjects, Objects, ObjectsRefused, Stored, open_objects
from gephyra.service.objects.flight import SingleFlight
from tests.support.s3 import SECRET, environment, s3_bucket

WORDS = b"some content" * 1000
DIGEST = hashlib.sha256(WORDS).hexdigest()


class Moody(Objects):
    """Another store that counts what it is asked for, and may be away."""

    def __init__(self, store: Objects) -> None:
        self._store = store
        self.away = False
        self.gets = 0

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def elsewhere(self) -> bool:
        return True

    def put(self, key: str, source: Path) -> None:
        self._there().put(key, source)

    def get(self, key: str) -> Iterator[bytes] | None:
        self.gets += 1
        return self._there().get(key)

    def find(self, key: str) -> Stored | None:
        return self._there().find(key)

    def remove(self, key: str) -> None:
        self._there().remove(key)

    def stored(self, prefix: str) -> Iterator[Stored]:
        return self._there().stored(prefix)

    def claim(self, owner: str) -> str:
        return self._there().claim(owner)

    def _there(self) -> Objects:
        if self.away:
            raise Unavailable(Reason.ARTEFACTS_UNAVAILABLE, "away")
        return self._store


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, dict[str, str]]]:
    with s3_bucket() as found:
        yield found


@pytest.fixture(params=["memory", "file", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An empty store, of each kind that there is."""
    if request.param != "s3":
        return open_objects({"memory": "memory:///", "file": f"file://{tmp_path}/objects"}[request.param])
    url, environment = request.getfixturevalue("s3")
    for name in environment:
        monkeypatch.setenv(name, environment[name])
    # One server for all tests of this file, a prefix for each.
    return open_objects(f"{url}/{tmp_path.name}")


@pytest.fixture
def moody(tmp_path: Path) -> Moody:
    return Moody(open_objects(f"file://{tmp_path}/objects"))


def test_what_was_put_is_got_found_and_listed(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(WORDS)
    assert objects.get("a/b/c") is None
    assert objects.find("a/b/c") is None
    objects.put("a/b/c", tmp_path / "source")
    objects.put("b/c", tmp_path / "source")
    parts = objects.get("a/b/c")
    assert parts is not None
    assert b"".join(parts) == WORDS
    found = objects.find("a/b/c")
    assert found is not None
    assert (found.key, found.size) == ("a/b/c", len(WORDS))
    assert [(each.key, each.size) for each in objects.stored("a/")] == [("a/b/c", len(WORDS))]
    assert abs(found.modified - (tmp_path / "source").stat().st_mtime) < 60
    assert objects.elsewhere


def test_a_large_object_goes_in_parts(objects: Objects, tmp_path: Path) -> None:
    content = bytes(range(256)) * 49152  # 12 MiB, more than obstore sends at once.
    (tmp_path / "source").write_bytes(content)
    objects.put("large", tmp_path / "source")
    parts = objects.get("large")
    assert parts is not None
    assert b"".join(parts) == content


def test_an_object_is_removed_once_and_again(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(WORDS)
    objects.put("a", tmp_path / "source")
    for _ in range(2):
        objects.remove("a")
        assert objects.find("a") is None
    assert list(objects.stored("a/")) == []


def test_the_wrong_size_is_put_again(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(WORDS[:-1])
    objects.put("a", tmp_path / "source")
    (tmp_path / "source").write_bytes(WORDS)
    objects.put("a", tmp_path / "source")
    found = objects.find("a")
    assert found is not None
    assert found.size == len(WORDS)


def test_the_first_owner_stays(objects: Objects) -> None:
    assert [objects.claim(owner) for owner in ("one", "other", "one")] == ["one"] * 3


def test_content_is_there_before_its_row_can_be(objects: Objects, tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "here", objects)
    assert artefacts.put(WORDS) == DIGEST
    found = objects.find(artefacts.key(DIGEST))
    assert found is not None
    assert found.size == len(WORDS)
    assert [each.key for each in artefacts.kept()] == [DIGEST] == [each.key for each in artefacts.files()]


async def test_an_empty_folder_is_filled_when_content_is_asked_for(objects: Objects, tmp_path: Path) -> None:
    Artefacts(tmp_path / "here", objects).put(WORDS)
    there = Artefacts(tmp_path / "there", objects)
    assert there.size(DIGEST) is None
    path = await there.present(DIGEST)
    assert path.read_bytes() == WORDS
    assert Artefacts(tmp_path / "elsewhere", objects).read(DIGEST) == WORDS
    assert Artefacts(tmp_path / "nowhere", objects).peek(DIGEST) == WORDS
    assert not (tmp_path / "nowhere").exists()


async def test_what_is_nowhere_is_told(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(CorruptArtefact, match="neither"):
        await Artefacts(tmp_path / "here", objects).present(DIGEST)
    assert Artefacts(tmp_path / "here", objects).hold(DIGEST) is None


async def test_an_object_with_other_content_is_not_taken(objects: Objects, tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "here", objects)
    (tmp_path / "other").write_bytes(b"other")
    objects.put(artefacts.key(DIGEST), tmp_path / "other")
    with pytest.raises(CorruptArtefact, match="does not have the content"):
        await artefacts.present(DIGEST)
    assert artefacts.size(DIGEST) is None
    assert [path for path in (tmp_path / "here").rglob("*") if path.is_file()] == []


def test_a_damaged_copy_is_replaced(objects: Objects, tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "here", objects)
    artefacts.put(WORDS)
    artefacts.path(DIGEST).write_bytes(b"damage")
    assert artefacts.read(DIGEST) == WORDS
    assert artefacts.path(DIGEST).read_bytes() == WORDS


def test_both_are_removed(objects: Objects, tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "here", objects)
    artefacts.put(WORDS)
    artefacts.remove(DIGEST)
    assert artefacts.size(DIGEST) is None
    assert list(artefacts.kept()) == []


def test_adopted_and_held_content_is_an_object(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(WORDS)
    artefacts = Artefacts(tmp_path / "here", objects)
    artefacts.adopt(tmp_path / "source", DIGEST)
    assert [each.key for each in artefacts.kept()] == [DIGEST]
    objects.remove(artefacts.key(DIGEST))
    assert artefacts.hold(DIGEST) == len(WORDS)
    assert [each.key for each in artefacts.kept()] == [DIGEST]


async def test_content_is_fetched_once_for_all_who_ask(moody: Moody, tmp_path: Path) -> None:
    Artefacts(tmp_path / "here", moody).put(WORDS)
    there = Artefacts(tmp_path / "there", moody)
    asking = [asyncio.create_task(there.present(DIGEST)) for _ in range(50)]
    await asyncio.sleep(0)
    # One that goes away takes nothing from the others.
    asking.pop(0).cancel()
    assert {path.read_bytes() for path in await asyncio.gather(*asking)} == {WORDS}
    assert moody.gets == 1


async def test_without_objects_the_folder_is_not_even_looked_at(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path / "here", NoObjects())
    assert await artefacts.present(DIGEST) == artefacts.path(DIGEST)
    assert not (tmp_path / "here").exists()


async def test_a_store_that_is_away_is_told_and_nothing_is_lost(moody: Moody, tmp_path: Path) -> None:
    artefacts, there = Artefacts(tmp_path / "here", moody), Artefacts(tmp_path / "there", moody)
    artefacts.put(WORDS)
    moody.away = True
    with pytest.raises(Unavailable) as refused:
        artefacts.put(b"more")
    assert refused.value.reason == Reason.ARTEFACTS_UNAVAILABLE
    with pytest.raises(Unavailable):
        await there.present(DIGEST)
    # What the folder has is served all the same.
    assert (await artefacts.present(DIGEST)).read_bytes() == WORDS
    # The folder has it, and the next time the objects have it too.
    artefacts.remove(DIGEST)
    moody.away = False
    more = artefacts.put(b"more")
    assert {each.key for each in artefacts.kept()} == {more, DIGEST}
    assert (await there.present(DIGEST)).read_bytes() == WORDS


def test_a_flight_that_failed_is_begun_again() -> None:
    fails = iter([True, False])

    def work(key: str) -> None:
        if next(fails):
            raise ValueError(key)

    flight = SingleFlight(work)
    with pytest.raises(ValueError, match="some-key"):
        flight.begin("some-key").result(10)
    flight.begin("some-key").result(10)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gopher://bucket", "scheme 'gopher'"),
        ("bucket", "scheme ''"),
        ("s3:///prefix", "scheme 's3'"),
        (f"s3://key:{SECRET}@bucket/prefix", "AWS_ACCESS_KEY_ID"),
        (f"s3://bucket/prefix?secret={SECRET}", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_other_urls_are_refused_without_their_secrets(url: str, words: str) -> None:
    with pytest.raises(ObjectsRefused, match=words) as refused:
        open_objects(url)
    assert SECRET not in str(refused.value)


def asking(objects: Objects, source: Path) -> tuple[Callable[[], object], ...]:
    return (
        lambda: objects.put("a", source),
        lambda: objects.get("a"),
        lambda: objects.find("a"),
        lambda: objects.remove("a"),
        lambda: list(objects.stored("a/")),
        lambda: objects.claim("me"),
    )


def test_a_server_that_is_not_there_is_told_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name, value in environment(closed.getsockname()[1]).items():
            monkeypatch.setenv(name, value)
        (tmp_path / "source").write_bytes(WORDS)
        objects = open_objects("s3://bucket/prefix")
        with caplog.at_level(logging.DEBUG), pytest.raises(Unavailable) as refused:
            objects.put("a", tmp_path / "source")
    assert (refused.value.reason, refused.value.retry_seconds) == (Reason.ARTEFACTS_UNAVAILABLE, 5)
    for secret in (SECRET, "some-key-id"):
        assert secret not in refused.value.message + caplog.text
    assert "s3://bucket/prefix" in caplog.text


def test_whatever_is_asked_of_a_broken_store_is_unavailable(tmp_path: Path) -> None:
    objects = open_objects(f"file://{tmp_path}/objects")
    (tmp_path / "source").write_bytes(WORDS)
    # A file where the folder was.
    (tmp_path / "objects").rmdir()
    (tmp_path / "objects").write_bytes(b"")
    for ask in asking(objects, tmp_path / "source"):
        with pytest.raises(Unavailable) as refused:
            ask()
        assert refused.value.reason == Reason.ARTEFACTS_UNAVAILABLE
