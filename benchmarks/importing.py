"""How many lines of an access log `import-log` stores a second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from flask_statistics.traffic import generate

from .common import database, make_app

LINES = 200_000


def lines() -> Iterator[str]:
    """Plausible traffic as a server logs it: 560 user agents, 10,000 visitors."""
    for row in generate(start=datetime(2026, 1, 1), end=datetime(2026, 2, 1), requests=LINES, seed=1):
        target = row["path"] + (f"?{row['query_string']}" if row["query_string"] else "")
        yield (
            f'{row["remote_address"]} - - [{row["date"]:%d/%b/%Y:%H:%M:%S} +0000] "{row["method"]} {target} HTTP/1.1" '
            f'{row["status_code"]} {row["size"] or "-"} "{row["referrer"] or "-"}" "{row["user_agent"]}"\n'
        )


def main() -> None:
    with database() as url, tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        with log.open("w") as file:
            file.writelines(lines())
        app = make_app(url)
        started = time.perf_counter()
        result = app.test_cli_runner().invoke(args=["statistics", "import-log", str(log)], catch_exceptions=False)
        elapsed = time.perf_counter() - started
        assert result.exit_code == 0, result.output
    print(f"{LINES:,} lines in {elapsed:.1f} s: {LINES / elapsed:,.0f} rows a second")


if __name__ == "__main__":
    main()
