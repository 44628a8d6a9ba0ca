"""How long the dashboard takes over 100,000 rows: the default 7 days, and a span that holds all of them."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from statistics import median

from flask.testing import FlaskClient

from .common import database, make_app

ROWS = 100_000
DAYS = 28
TIMES = 9
URLS = (
    "/",
    "/?span=28d",
    "/?span=28d&browser=firefox",
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
    with database() as url:
        app = make_app(url, TESTING=True)
        arguments = ["statistics", "demo-data", "--requests", str(ROWS), "--days", str(DAYS), "--yes"]
        assert app.test_cli_runner().invoke(args=arguments).exit_code == 0
        client = app.test_client()
        week = datetime.now(timezone.utc) - timedelta(days=6)
        hits = client.get(f"/statistics/api/summary?start={week:%Y-%m-%d}").get_json()["hits"]
        print(f"{ROWS:,} rows over {DAYS} days, {hits:,} of them in the default 7 days")
        for path in URLS:
            print(f"{path:34} {milliseconds(client, path):6.0f} ms")


if __name__ == "__main__":
    main()
