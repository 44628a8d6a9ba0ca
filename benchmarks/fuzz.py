"""Tries hostile input for as long as it is left to: the strategies and checks of `tests/fuzzing.py`, round after round.

``python -m benchmarks.fuzz --minutes 60`` goes on where the last run ended, as `fuzz.json` in the current folder says. It
prints how many inputs each target has taken so far, and every finding with the input that shows it; the exit code is 1 if
there was one.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.core.failures import FailureGroup

from flask_statistics.guards import everybody
from tests.conftest import App
from tests.fuzzing import (
    MARKUP,
    PATIENT,
    Sent,
    add_views,
    addresses,
    check_case,
    methods,
    operations,
    queries,
    quiet_logs,
    record,
    sent,
    view,
)

EXAMPLES = 500
"""Inputs that a target is given in one round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--state", type=Path, default=Path("fuzz.json"))
    options = parser.parse_args()
    logging.getLogger("tests.app").setLevel(logging.ERROR)
    state = _read(options.state)
    deadline = time.monotonic() + options.minutes * 60
    while time.monotonic() < deadline:
        started = time.monotonic()
        for name, target in TARGETS.items():
            tried, finding = target(state["rounds"])
            state["inputs"][name] = state["inputs"].get(name, 0) + tried
            if finding is not None and finding not in state["findings"]:
                state["findings"].append(finding)
                print(f"round {state['rounds']}: {name}: {finding}")
        state["rounds"] += 1
        state["seconds"] += time.monotonic() - started
        options.state.write_text(json.dumps(state, indent=1))
    counts = ", ".join(f"{name} {count:,}" for name, count in state["inputs"].items())
    print(f"{state['rounds']} rounds, {state['seconds'] / 60:.0f} minutes: {counts}; {len(state['findings'])} findings")
    return 1 if state["findings"] else 0


def _read(path: Path) -> dict[str, Any]:
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    return {"rounds": 0, "seconds": 0.0, "inputs": {}, "findings": []}


@contextmanager
def _app() -> Iterator[App]:
    """An app with a table of its own, in which hostile requests are recorded."""
    with TemporaryDirectory(prefix="fuzz-") as folder:
        url = f"sqlite:///{folder}/app.sqlite"
        app = App(url, before=add_views, before_f=everybody, STATISTICS_QUERY_TIMEOUT=PATIENT)
        for text in MARKUP:
            raw = text.encode("utf-8", "surrogatepass")
            record(app, Sent("GET", raw, raw, (("User-Agent", raw), ("Referer", raw)), raw, b"text/html"))
        yield app
        app.close()


def _tried(number: int, check: Callable[..., None], **strategies: Any) -> tuple[int, str | None]:
    """How many inputs `check` was given in the round `number`, and what it raised for the smallest that it fails on."""
    tried = 0

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(**strategies)
    def attempt(**values: Any) -> None:
        nonlocal tried
        tried += 1
        with quiet_logs():
            check(**values)

    try:
        attempt()
    except (Exception, FailureGroup) as error:
        return tried, "".join(traceback.format_exception_only(error)).strip() + "\n" + "\n".join(
            getattr(error, "__notes__", ())
        )
    return tried, None


def _requests(number: int) -> tuple[int, str | None]:
    with _app() as app:
        return _tried(number, lambda request: record(app, request), request=sent)


def _urls(number: int) -> tuple[int, str | None]:
    with _app() as app:

        def check(address: str, query: str, method: str) -> None:
            view(app, address, query, method if method in ("GET", "HEAD", "OPTIONS") else "GET")

        return _tried(number, check, address=addresses, query=queries, method=methods)


def _api(number: int) -> tuple[int, str | None]:
    tried, finding = 0, None
    with _app() as app:
        for operation in operations(app).values():
            count, found = _tried(number, check_case, case=operation.as_strategy())
            tried, finding = tried + count, finding or found
    return tried, finding


TARGETS = {"requests to record": _requests, "URLs of the dashboard": _urls, "calls of the described API": _api}

if __name__ == "__main__":
    sys.exit(main())
