"""How many lines of an access log `import-log` stores a second, and how many GoAccess reads, where that is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from flask_statistics.traffic import generate

from .common import database, make_app

LINES = 600_000
ROUNDS = 3


def lines() -> Iterator[str]:
    """Plausible traffic as a busy server logs it: three requests a second, 560 user agents, 10,000 visitors."""
    start = datetime(2026, 1, 1)
    rows = generate(start=start, end=datetime(2026, 2, 1), requests=LINES, seed=1)
    for number, row in enumerate(rows):
        date = start + timedelta(seconds=number // 3)
        target = row["path"] + (f"?{row['query_string']}" if row["query_string"] else "")
        yield (
            f'{row["remote_address"]} - - [{date:%d/%b/%Y:%H:%M:%S} +0000] "{row["method"]} {target} HTTP/1.1" '
            f'{row["status_code"]} {row["size"] or "-"} "{row["referrer"] or "-"}" "{row["user_agent"]}"\n'
        )


def imported(log: Path) -> float:
    """Seconds that the command takes for `log`, into an empty database."""
    with database() as url:
        app = make_app(url)
        started = time.perf_counter()
        result = app.test_cli_runner().invoke(args=["statistics", "import-log", str(log)], catch_exceptions=False)
        elapsed = time.perf_counter() - started
        assert result.exit_code == 0, result.output
    return elapsed


def read_by_goaccess(log: Path) -> float:
    """Seconds that GoAccess takes to read it."""
    report = log.with_suffix(".json")
    started = time.perf_counter()
    command = ["goaccess", str(log), "--log-format=COMBINED", "--no-progress", "-o", str(report)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        with log.open("w") as file:
            file.writelines(lines())
        for _ in range(ROUNDS):  # in turn: a busy machine slows both alike
            print(f"import-log: {LINES / imported(log):,.0f} lines a second")
            if shutil.which("goaccess"):
                print(f"GoAccess:   {LINES / read_by_goaccess(log):,.0f} lines a second")


if __name__ == "__main__":
    main()
