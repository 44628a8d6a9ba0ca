"""What the app logs while a request lasts: its lines of WARNING and above, as they are logged.

They are seen where Python makes them (`logging.setLogRecordFactory`), not by a handler: with one of ours, `logging.basicConfig`
and Flask would take logging for set up, and the app's own lines would go nowhere.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from .collector import CURRENT

_lock = threading.Lock()
_watching: list[Any] = []


def watch() -> None:
    """See what is logged from now on, in this process; once."""
    with _lock:
        before = logging.getLogRecordFactory()
        if before not in _watching:
            _watching[:] = [_seeing(before)]
            logging.setLogRecordFactory(_watching[0])


def _seeing(make: Any) -> Any:
    def see(*arguments: Any, **options: Any) -> logging.LogRecord:
        record: logging.LogRecord = make(*arguments, **options)
        # another one of ours may be around this one, if the host's own factory came between; and records that are made of
        # what another process sent (`logging.makeLogRecord`) have no level at first
        if see is _watching[0] and isinstance(record.levelno, int) and record.levelno >= logging.WARNING:
            collector = CURRENT.get()
            if collector is not None and collector.lines is not None and collector.owner is not None:
                _keep(collector, record)
        return record

    return see


def _keep(collector: Any, record: logging.LogRecord) -> None:
    if isinstance(record.msg, str) and record.msg.startswith("Flask-Statistics"):  # ours, which are about recording
        return
    try:
        text = record.getMessage()
    except Exception:  # the app's handlers say so, as always
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    collector.log(record.levelname, record.name, text)
