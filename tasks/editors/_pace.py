"""Spaces out requests, for all threads of an editor together."""

import threading
import time


class Pace:
    """No more requests a minute than allowed, and none while a service asks for a pause."""

    def __init__(self, requests_per_minute: float | None) -> None:
        self._interval_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Until it is this thread's turn, or until `stop`."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._interval_s
        # Again after each wait, since another thread may have been told to pause meanwhile.
        while (left := max(turn, self._paused_until) - time.monotonic()) > 0:
            if stop.wait(left):
                return

    def pause(self, seconds: float) -> None:
        """Let no request start for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
