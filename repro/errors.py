"""The errors that a user can cause, and the exit codes they end a command with."""

from __future__ import annotations

import errno
from pathlib import Path


class ReproError(Exception):
    """An error with a message meant for the user: it names the value, the bound and the remedy."""

    exit_code = 1


class InputError(ReproError):
    """Bad input, found before anything was computed or written."""

    exit_code = 2


class DivergedError(ReproError):
    """An optimisation that left the finite numbers: a result, recorded as such."""

    exit_code = 3


class StorageError(ReproError):
    """A file that the system would not read or write; what is on disk already is whole."""

    exit_code = 2


_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EACCES: "mend its permissions",
    errno.EPERM: "mend its permissions",
    errno.EROFS: "choose a place that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "put it back",
    errno.ENOTDIR: "choose another place",
    errno.EISDIR: "choose another place",
    errno.EEXIST: "choose another place",
}


def storage_error(error: OSError, path: Path | str | None = None) -> StorageError:
    """What the system said of a file, in one line: the file, the reason, and a remedy.

    Args:
        error: as raised.
        path: of the file; the one that the error names when left out.
    """
    name = path if path is not None else error.filename
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "mend that")
    subject = f"{name}: " if name is not None else ""
    return StorageError(
        f"{subject}{reason}; {remedy}, then give the same command again, with --resume where it has that option"
    )
