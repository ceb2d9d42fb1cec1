"""Writes files so that a reader, a crash or a second writer never finds one that is half-written."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from repro.errors import InputError, StorageError, storage_error

TEMPORARY = ".tmp"


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` under a temporary name in the same directory, flushes it to disk and renames it to ``path``.

    The file gets the permissions of any new file, as the umask has them.

    Raises:
        StorageError: if the system refuses; ``path`` is as it was then.
    """
    with staged(path, data):
        pass


@contextmanager
def staged(path: Path, data: bytes) -> Iterator[None]:
    """As :func:`write_atomic`, but the renaming comes last: what is done in between knows that there was room.

    Raises:
        StorageError: if the system refuses, before anything else is done or at the renaming.
    """
    temporary = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        _forget(temporary)
        raise storage_error(error, path) from error
    try:
        yield
        _rename(temporary, path)
    finally:
        _forget(temporary)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error, path) from error


def _forget(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def is_temporary(entry: Path, names: Iterable[str]) -> bool:
    """Whether a file is what :func:`write_atomic` makes on its way to a file of one of these names."""
    return entry.name.endswith(TEMPORARY) and entry.name.startswith(tuple(f".{name}." for name in names))


def remove_temporaries(directory: Path, names: Iterable[str]) -> None:
    """Removes what writes of files of these names have left behind; call it only while no other process writes there.

    Raises:
        StorageError: if the system refuses.
    """
    own = tuple(names)
    try:
        for entry in list(directory.iterdir()):
            if is_temporary(entry, own):
                entry.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error) from error


@contextmanager
def exclusive(lock: Path, busy: str) -> Iterator[Callable[[], None]]:
    """Holds a lock file against other processes; the lock goes with the process, however that ends.

    The file is made if need be, and never emptied or removed. Where it is a symbolic link, that is not followed.

    Args:
        lock: the file.
        busy: what to say if another process holds it.

    Yields:
        A function that raises StorageError once the file is gone or another one has its name. Then its folder was
        removed, and what stands there now is not ours to write to.

    Raises:
        InputError: if another process holds the lock, or something that is no file has its name.
        StorageError: if the system refuses.
    """
    try:
        # Not blocking: it could be a pipe.
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if lock.is_symlink():
            raise InputError(f"{lock}: is a symbolic link, and a lock must be a file of its own; remove it") from error
        raise storage_error(error, lock) from error
    try:
        own = os.fstat(handle)
        if not stat.S_ISREG(own.st_mode):
            raise InputError(f"{lock}: is not a file; remove it")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(busy) from error
        except OSError as error:
            raise storage_error(error, lock) from error

        def held() -> None:
            try:
                there = lock.lstat()
            except OSError as error:
                raise storage_error(error, lock) from error
            if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
                raise StorageError(f"{lock}: was replaced meanwhile, so what is there now belongs to another process")

        held()
        yield held
    finally:
        os.close(handle)
