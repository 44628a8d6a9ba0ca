"""Every statement that we issue: CockroachDB's dialect compiles it, and none joins raw rows with anything."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from ..conftest import App, a_fortnight
from ..test_views import PARTIALS, VIEWS

APIS = ("summary", "series?unit=hour", "breakdown/path?sort=-p95", "breakdown/browser", "changes", "requests", "health")
FILTERS = ("browser!=firefox&q=page", "path=/&status_code=5xx", "device!=bot", "referrer=")
LOG = '192.0.2.1 - - [22/Nov/2026:10:00:00 +0000] "GET /log HTTP/1.1" 200 5 "-" "curl/8"\n'
Issued = list[tuple[Any, Any]]


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """All statements that an app issues in its life, with their first parameters."""
    found: Issued = []

    def remember(_connection: Any, statement: Any, many: Any, one: Any, _options: Any) -> None:
        found.append((statement, one or (many or [{}])[0]))

    folder = tmp_path_factory.mktemp("statements")
    sa.event.listen(sa.Engine, "before_execute", remember)
    try:
        use_everything(folder)
    finally:
        sa.event.remove(sa.Engine, "before_execute", remember)
    return found


def use_everything(folder: Path) -> None:
    """Create, record, import, show and ask everything, from the raw table and from rollups; rebuild and delete."""
    app = App(
        f"sqlite:///{folder / 'app.sqlite'}",
        STATISTICS_ROLLUPS=True,
        STATISTICS_SCHEDULER=False,
        STATISTICS_RAW_RETENTION=timedelta(days=10),
        STATISTICS_HOURLY_RETENTION=timedelta(days=2),
    )
    app.insert(*a_fortnight(datetime.now(timezone.utc).replace(tzinfo=None)))
    app.insert(*({"date": datetime.now(timezone.utc), "path": f"/page/{number}"} for number in range(200)))
    app.client.get("/")
    (folder / "log").write_text(LOG)
    run(app, "init", f"import-log {folder / 'log'}", "status")
    ask_everything(app)
    run(app, "rollup", "verify", "rebuild")
    ask_everything(app)
    run(app, "prune")
    ask_everything(app)
    run(app, "rebuild --all")
    app.close()


def run(app: App, *commands: str) -> None:
    for command in commands:
        app.flask.test_cli_runner().invoke(args=["statistics", *command.split()])


def ask_everything(app: App) -> None:
    for url in (*VIEWS, *(f"panels/{name}" for name in PARTIALS), *(f"export/{name}.csv" for name in PARTIALS)):
        app.client.get(f"/statistics/{url}")
    for api in APIS:
        for filters in ("", *FILTERS):
            app.client.get(f"/statistics/api/{api}{'&' if '?' in api else '?'}span=28d&{filters}")


def compiled(issued: Issued, dialect: Any) -> set[str]:
    """The statements as `dialect` sends them."""
    return {
        str(statement.compile(dialect=dialect, **({"column_keys": list(one)} if one else {})))
        for statement, one in issued
    }


def test_cockroachdb_compiles_every_statement(issued: Issued) -> None:
    reason = "sqlalchemy-cockroachdb is not installed: it needs SQLAlchemy 2.0"
    dialect = pytest.importorskip("sqlalchemy_cockroachdb.psycopg", reason=reason).CockroachDBDialect_psycopg()
    texts = compiled(issued, dialect)
    kinds = {text.split()[0] for text in texts}
    assert kinds == {"CREATE", "SELECT", "INSERT", "UPDATE", "DELETE"}
    assert any("json_array_elements_text" in text for text in texts)  # and not what SQLite has instead
    for text in texts:
        assert not re.search(r"json_each|JSON_TABLE|WITHOUT ROWID|strftime|date_trunc", text), text


def test_raw_rows_are_never_joined(issued: Issued) -> None:
    """What a raw table on several servers relies on: a statement reads raw rows of a range of dates, or by key."""
    dialect = sqlite.dialect()
    statements = [statement for statement, _ in issued if not isinstance(statement, sa.schema.ExecutableDDLElement)]
    texts = {str(statement.compile(dialect=dialect)) for statement in statements}
    raw = [text for text in texts if re.search(r"(FROM|INTO|UPDATE) request\b", text)]
    assert len(raw) > 40
    for text in raw:
        assert not re.search(r" JOIN |statistics_\w+", text), text


def test_clickhouse_compiles_every_statement_about_raw_rows(issued: Issued) -> None:
    reason = 'clickhouse-connect is not installed: pip install -e ".[dev,dev-clickhouse]"'
    dialect = pytest.importorskip("clickhouse_connect.cc_sqlalchemy.dialect", reason=reason).ClickHouseDialect()
    kinds = (sa.Select, sa.CompoundSelect, sa.Insert, sa.Delete)
    texts = compiled([(statement, one) for statement, one in issued if isinstance(statement, kinds)], dialect)
    raw = [text for text in texts if re.search(r"(FROM|INTO) `?request\b", text)]
    assert len(raw) > 30
    assert {text.split()[0] for text in raw} == {"SELECT", "INSERT", "DELETE"}
    assert any("JSONExtract" in text for text in raw)
