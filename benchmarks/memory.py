"""Memory of the process, and size of its spool, over many requests with the spool writer.

python -m benchmarks.memory [--requests 1000000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from flask_statistics.state import state_of

from .common import make_app
from .recording import seconds


def resident_mib() -> float:
    """What the process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1_000_000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        app = make_app(
            f"sqlite:///{folder / 'app.sqlite'}", STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=folder / "spool"
        )
        writer = state_of(app).writer
        assert writer is not None
        for number in range(requests + 1):
            seconds(app, number)
            if number % (requests // 10) == 0:
                size = sum(file.stat().st_size for file in (folder / "spool").iterdir()) / 2**20
                waiting = writer.backlog().waiting
                print(
                    f"{number:9,} requests: {resident_mib():6.1f} MiB, spool {size:5.1f} MiB, {waiting:,} waiting",
                    flush=True,
                )
        writer.close()


if __name__ == "__main__":
    main()
