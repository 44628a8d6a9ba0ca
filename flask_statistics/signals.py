"""What an app can listen to: `request_recording`, `requests_stored`, `requests_lost` and `rollups_updated`.

They are blinker's signals, as Flask's own are: ``requests_lost.connect(warn, app)``. The sender is the app. All but the first
may come from a thread of ours, without a context of the app's. Where nobody listens they cost next to nothing.
"""

from __future__ import annotations

from typing import Any

from blinker import NamedSignal, Namespace
from flask import Flask

_signals = Namespace()

request_recording = _signals.signal("request-recording")
"""``(app, record)``: a request has ended and is about to be stored. A receiver may change the `Record`, or `drop` it. When one
fails, or leaves what no column can take, the request is not stored, and counts as lost."""
requests_stored = _signals.signal("requests-stored")
"""``(app, rows)``: so many requests are in the raw table that were not."""
requests_lost = _signals.signal("requests-lost")
"""``(app, rows, reason, error)``: so many requests are stored nowhere; the type of the error, and its first line."""
rollups_updated = _signals.signal("rollups-updated")
"""``(app, until)``: a run of the job has ended; requests before `until` (naive UTC) are rolled up."""


def tell(signal: NamedSignal, app: Flask, **values: Any) -> None:
    """Send a signal that only tells: a receiver that fails is logged, and stops nobody."""
    if not signal.receivers:
        return
    for receiver in signal.receivers_for(app):
        try:
            app.ensure_sync(receiver)(app, **values)
        except Exception:  # noqa: PERF203 - one that fails must not keep the others from hearing it
            app.logger.exception("Flask-Statistics: a receiver of the signal %r failed.", signal.name)
