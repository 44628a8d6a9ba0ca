"""How long the dashboard takes: raw over 100,000 rows and with rollups over 300,000, and what comes after its pages.

python -m benchmarks.page
"""

from __future__ import annotations

import time
from statistics import median

from flask.testing import FlaskClient

from .common import database, make_app

ROWS = {False: (100_000, 28), True: (300_000, 60)}
"""Rows and days, without rollups and with them."""
TIMES = 9
URLS = (
    "/",
    "/?span=28d",
    "/?span=28d&browser=firefox",
    "/?span=28d&browser=chrome&browser=firefox&split=browser",
    "/?span=28d&at=tue15",
    "/errors?span=28d",
    "/changes?span=28d",
    "/panel/paths?span=28d&by=route",
    "/panel/paths?span=28d&by=path",
    "/panel/week?span=28d",
    "/api/summary",
    "/api/summary?span=28d",
    "/api/series?span=28d&unit=hour",
    "/api/breakdown/path?span=28d",
    "/api/breakdown/browser?span=28d",
    "/api/requests?span=28d",
)


def milliseconds(client: FlaskClient, url: str) -> float:
    """Median time of a page."""
    found = []
    for _ in range(TIMES):
        started = time.perf_counter()
        response = client.get(f"/statistics{url}")
        found.append((time.perf_counter() - started) * 1000)
        assert response.status_code == 200, response.text
    return median(found)


def main() -> None:
    for rollups, (rows, days) in ROWS.items():
        with database() as url:
            app = make_app(url, TESTING=True, STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False)
            commands = [["demo-data", "--requests", str(rows), "--days", str(days), "--yes"]]
            for command in commands + [["rollup"]] * rollups:
                assert app.test_cli_runner().invoke(args=["statistics", *command]).exit_code == 0
            client = app.test_client()
            print(f"{rows:,} rows over {days} days, {'with rollups' if rollups else 'raw'}")
            for path in URLS:
                print(f"{path:60} {milliseconds(client, path):6.0f} ms")


if __name__ == "__main__":
    main()
