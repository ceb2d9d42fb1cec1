"""The errors that a user can cause, and the exit codes they end a command with."""

from __future__ import annotations


class ReproError(Exception):
    """An error with a message meant for the user: it names the value, the bound and the remedy."""

    exit_code = 1


class InputError(ReproError):
    """Bad input, found before anything was computed or written."""

    exit_code = 2


class DivergedError(ReproError):
    """An optimisation that left the finite numbers: a result, recorded as such."""

    exit_code = 3
