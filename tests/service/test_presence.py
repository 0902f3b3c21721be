"""Which servers are at work in a folder: the living are left alone, the dead are known, whatever the clocks say."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gephyra.service.artefacts import Artefacts
from gephyra.service.lock import FolderLock, FolderLocked
from gephyra.service.presence import Presence, living

SILENCE = 60.0


@pytest.fixture
def join(tmp_path: Path) -> Callable[[], Presence]:
    """Has a server come."""
    return lambda: Presence(tmp_path, SILENCE)


def kill(server: Presence) -> None:
    """As the kernel does: the lock goes, the file stays."""
    os.close(server._handle)


def elsewhere(folder: Path, name: str, seconds: float) -> str:
    """What a server of another machine left, so long ago; its lock is not seen here."""
    path = folder / name
    path.write_text("another-machine 1\n")
    now = os.stat(path).st_mtime
    os.utime(path, (now - seconds, now - seconds))
    return name


def test_the_living_and_the_dead_of_this_machine_are_told_apart_at_once(
    join: Callable[[], Presence], tmp_path: Path
) -> None:
    first, second, third = join(), join(), join()
    assert first.dead() == second.dead() == set()
    assert len(living(tmp_path)) == 3
    assert all(line.endswith(f" {os.getpid()}") for line in living(tmp_path))
    kill(second)
    assert first.dead() == third.dead() == {second.owner}
    assert (first.gone(second.owner), first.gone(third.owner), first.gone(first.owner)) == (True, False, False)
    first.forget([second.owner])
    assert first.dead() == set()
    third.close(left=True)
    assert first.dead() == {third.owner}
    first.forget(first.dead())
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_a_server_of_another_machine_is_dead_when_it_was_silent(join: Callable[[], Presence], tmp_path: Path) -> None:
    server = join()
    talks, silent = elsewhere(tmp_path, "talks", 1.0), elsewhere(tmp_path, "silent", 2 * SILENCE)
    assert server.dead() == {silent}
    assert (server.gone(talks), server.gone(silent)) == (False, True)
    # One that is just coming has not written its name yet.
    (tmp_path / "comes").touch()
    assert server.dead() == {silent}
    server.close()


def test_what_nobody_owns_is_left_while_there_is_anybody_else(join: Callable[[], Presence], tmp_path: Path) -> None:
    first = join()
    assert first.gone("")
    assert first.gone("of-long-ago")
    second = join()
    assert not first.gone("")
    assert not first.gone("of-long-ago")
    kill(second)
    assert first.gone("of-long-ago")
    first.close()


def test_what_the_living_write_is_not_cleaned_away(tmp_path: Path) -> None:
    first, second = Presence(tmp_path / "servers", SILENCE), Presence(tmp_path / "servers", SILENCE)
    ours, theirs = (Artefacts(tmp_path, owner=each.owner) for each in (first, second))
    with theirs.writer() as writing, theirs.writer() as left:
        writing.write(b"content")
        ours.clean(first.gone)
        sha256 = writing.commit()
        assert ours.read(sha256) == b"content"
        left.write(b"half")
        kill(second)
        ours.clean(first.gone)
        assert list((tmp_path / "staging").iterdir()) == []
    first.close()


def test_a_folder_is_shared_or_owned(tmp_path: Path) -> None:
    with FolderLock(tmp_path, shared=True), FolderLock(tmp_path, shared=True), pytest.raises(FolderLocked):
        FolderLock(tmp_path)
    with FolderLock(tmp_path), pytest.raises(FolderLocked):
        FolderLock(tmp_path, shared=True)
