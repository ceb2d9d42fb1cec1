"""SIGINT, SIGTERM and the end of the parent process as a request to stop; work checks it when it can stop in order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ONE_WISH_SECONDS = 1.0
"""Signals so close together are one wish. Ctrl-C reaches all processes on a terminal, and a sweep then ends its own."""


@contextmanager
def interruptions(then: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Lets SIGINT and SIGTERM ask for an end, which the work inside finds in the event.

    A signal that comes more than :data:`ONE_WISH_SECONDS` after the first one ends at once.

    Raised at any place, as Python does by itself, a KeyboardInterrupt can fall into a destructor and be lost there, or
    into the middle of a write. Outside of the main thread, where no signal arrives, the event is never set.

    Args:
        then: called besides when the first signal arrives.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    first = 0.0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first
        del number, frame
        if not asked.is_set():
            first = time.monotonic()
            asked.set()
            then()
        elif time.monotonic() - first > ONE_WISH_SECONDS:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with(pipe: int) -> None:
    """Asks this process for an end by SIGTERM when a pipe closes: with the process that holds its other end.

    However that process ends, ``kill -9`` included, what it has started does not compute on for nobody.

    Args:
        pipe: file descriptor of the end for reading; nothing that comes out of it is looked at.
    """

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
