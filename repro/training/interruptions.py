"""SIGINT and SIGTERM as a wish that work looks at when it can end in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptions(then: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """Lets SIGINT and SIGTERM ask for an end, which the work inside finds in the event; a second signal ends at once.

    Raised at any place, as Python does by itself, a KeyboardInterrupt can fall into a destructor and be lost there, or
    into the middle of a write. Outside of the main thread, where no signal arrives, the event is never set.

    Args:
        then: called besides when the first signal arrives.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        then()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
