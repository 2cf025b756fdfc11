"""Ctrl-C during a run: it waits for the end of a batch, so that what was embedded is kept."""

import os
import signal
import threading
import time
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# some programs that start others send a signal to the process and to its group
_SECONDS_OF_ONE_SIGNAL = 1


class RunInterrupted(KeyboardInterrupt):
    """A run was interrupted and can be resumed; the message says how many rows are kept."""


class Interrupts:
    """SIGINT (Ctrl-C) and SIGTERM, and what they do at which moment of a run.

    The first signal raises a `KeyboardInterrupt`: at once, or, inside `deferred`, when `check` is
    called. A second one ends the process at once.

    Attributes
    ----------
    asked_at : float or None
        When the first signal came, by `time.monotonic`.
    """

    def __init__(self):
        self.asked_at = None
        self._is_deferred = False

    @contextmanager
    def installed(self):
        """Handle the signals while the context lasts, and after a signal until the process ends.

        A signal that the process ignores, as under nohup, stays ignored.
        """
        replaced = {}
        # only the main thread may handle signals
        is_main = threading.current_thread() is threading.main_thread()
        try:
            for number in _SIGNALS if is_main else ():
                if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                    replaced[number] = signal.signal(number, self._handle)
            yield
        finally:
            if self.asked_at is None:
                for number, handler in replaced.items():
                    signal.signal(number, handler)

    @contextmanager
    def deferred(self):
        """Let a signal wait for `check`, or for the end of the context."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        self.check()

    def check(self):
        """Raise a KeyboardInterrupt if a signal has come."""
        if self.asked_at is not None:
            raise KeyboardInterrupt

    def _handle(self, number, frame):
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
            if not self._is_deferred:
                raise KeyboardInterrupt
        elif now - self.asked_at > _SECONDS_OF_ONE_SIGNAL:
            # Threads may be computing, and nothing can stop them. The files of a run are complete
            # or absent at any moment.
            os.write(2, b"\nstopped at once; rows of the last seconds may be lost\n")
            os._exit(130)
