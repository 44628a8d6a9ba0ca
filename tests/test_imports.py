"""Access logs into the raw table: nothing lost, nothing twice, whatever stops an import."""

from __future__ import annotations

import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from click.testing import Result

from flask_statistics import access_log, imports
from flask_statistics.state import state_of

from .conftest import App

MakeApp = Callable[..., App]
SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "access-sample.log"
FIXTURE = Path(__file__).parent / "data" / "access.log"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"


def line(number: int, *, path: str | None = None, agent: str = FIREFOX) -> str:
    minute, second = divmod(number, 60)
    target = f"/{number}" if path is None else path
    return f'192.0.2.7 - - [17/May/2026:10:{minute:02}:{second:02} +0000] "GET {target} HTTP/1.1" 200 5 "-" "{agent}"\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_text("".join(line(number) for number in range(25)))
    return path


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "BATCH", 10)


def run(app: App, path: Path, *options: str) -> Result:
    return app.flask.test_cli_runner().invoke(args=["statistics", "import-log", str(path), *options])


def paths(app: App) -> list[str]:
    return [row.path for row in app.rows()]


def job(app: App) -> Any:
    state = state_of(app.flask)
    with state.engine().connect() as connection:
        return connection.execute(sa.select(state.imports)).one()


ALL = [f"/{number}" for number in range(25)]


# ---- what a row holds --------------------------------------------------------------------------------------------


def test_import_fills_the_row(make_app: MakeApp, database_url: str, tmp_path: Path) -> None:
    app = make_app(database_url)
    path = tmp_path / "access.log"
    path.write_text(
        '2001:db8::7 - jo [17/May/2026:10:00:01 +0200] "POST /a%00b?token=x&c=1 HTTP/2" 404 12 '
        f'"https://x.example/" "{FIREFOX}"\n'
    )
    assert run(app, path).exit_code == 0
    row = app.row()
    names = "date method path query_string status_code size remote_address referrer user_agent browser platform device"
    assert [getattr(row, name) for name in names.split()] == [
        datetime(2026, 5, 17, 8, 0, 1),
        "POST",
        "/a\N{SYMBOL FOR NULL}b",
        "token=***&c=1",
        404,
        12,
        "2001:db8::7",
        "https://x.example/",
        FIREFOX,
        "firefox 72.0",
        "Windows",
        "desktop",
    ]
    assert (row.response_time, row.route, row.mimetype, row.exception) == (None, None, None, None)


def test_import_cuts_what_is_too_long(make_app: MakeApp, database_url: str, tmp_path: Path) -> None:
    app = make_app(database_url)
    path = tmp_path / "access.log"
    path.write_text(line(1, path="/" + "x" * 3000, agent="y" * 3000))
    assert run(app, path).exit_code == 0
    assert (len(app.row().path), len(app.row().user_agent)) == (2048, 1024)


def test_import_leaves_excluded_paths_and_the_dashboard_out(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(STATISTICS_EXCLUDE=["/static/*", "admin.*"])
    path = tmp_path / "access.log"
    targets = [
        "/static/a.css",
        "/statistics/",
        "/statistics",
        "/statistics/api/summary?x=1",
        "/statistics-2",
        "/admin.x",
    ]
    path.write_text("".join(line(1, path=target) for target in targets))
    result = run(app, path)
    assert "4 requests left out: the dashboard's own, and STATISTICS_EXCLUDE." in result.output
    assert paths(app) == ["/statistics-2", "/admin.x"]


# ---- the same file again -----------------------------------------------------------------------------------------


def test_import_says_what_it_did(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    result = run(app, log)
    assert result.exit_code == 0
    assert re.fullmatch(
        r"25 requests imported in \d+\.\d s\.\n"
        r"See them at /statistics/\?start=2026-05-17&end=2026-05-17\n",
        result.stdout,
    )
    assert paths(app) == ALL


@pytest.mark.parametrize("lines", [10, 20, 25])
def test_import_of_a_finished_file_is_refused(make_app: MakeApp, tmp_path: Path, lines: int) -> None:
    app = make_app()
    log = tmp_path / "access.log"
    log.write_text("".join(line(number) for number in range(lines)))
    run(app, log)
    renamed = log.rename(tmp_path / "other.log")
    result = run(app, renamed)
    assert result.exit_code == 1
    assert re.fullmatch(
        rf"Error: other\.log was imported before: {lines} requests, on \d{{4}}-\d\d-\d\d at \d\d:\d\d UTC\. "
        r"Use --again to store them a second time\.\n",
        result.stderr,
    )
    assert len(app.rows()) == lines


def test_import_again(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    run(app, log)
    assert run(app, log, "--again").exit_code == 0
    assert paths(app) == ALL * 2
    assert job(app).requests == 25


def test_import_of_a_file_that_has_grown_takes_the_new_lines(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    whole = log.read_text()
    log.write_text(whole[: whole.index("/20 ")])  # the server has written half of a line
    result = run(app, log)
    assert result.exit_code == 0
    assert "1 malformed line left out:\n  line 21: not in the common or combined log format" in result.stderr
    assert paths(app) == ALL[:20]
    log.write_text(whole)
    assert "Going on after line 20.\n5 requests imported" in run(app, log).stdout
    assert paths(app) == ALL
    assert run(app, log).exit_code == 1


def test_import_of_gzip(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    log.write_bytes(gzip.compress(log.read_bytes()))
    assert run(app, log).exit_code == 0
    assert paths(app) == ALL
    assert run(app, log).exit_code == 1


# ---- what stops it -----------------------------------------------------------------------------------------------


def stopping(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
    """Let the import fail at a line."""
    parse, seen = access_log.parse_line, iter(range(1, 1000))

    def parse_or_fail(text: str) -> Any:
        if next(seen) == at:
            raise error
        return parse(text)

    monkeypatch.setattr(imports, "parse_line", parse_or_fail)


@pytest.mark.parametrize("at", [1, 10, 11, 15, 25])
def test_import_that_was_stopped_goes_on(
    make_app: MakeApp, database_url: str, log: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    app = make_app(database_url)
    with monkeypatch.context() as patch:
        stopping(patch, at, KeyboardInterrupt())
        result = run(app, log)
    assert result.exit_code == 130
    assert result.stderr.endswith("Stopped. The same command goes on from here.\n")
    assert paths(app) == ALL[: (at - 1) // 10 * 10]
    assert run(app, log).exit_code == 0
    assert paths(app) == ALL
    assert run(app, log).exit_code == 1


def test_import_that_crashed_goes_on(make_app: MakeApp, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    with monkeypatch.context() as patch:
        stopping(patch, 15, MemoryError())
        assert isinstance(run(app, log).exception, MemoryError)
    assert "Going on after line 10." in run(app, log).stdout
    assert paths(app) == ALL
    assert (job(app).lines, job(app).requests) == (25, 25)


def test_import_stores_rows_and_progress_together(
    make_app: MakeApp, database_url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(database_url)
    save, calls = imports.LogImport._save, iter(range(1, 9))

    def fail(self: Any, connection: sa.Connection, values: dict[str, Any]) -> bool:
        if next(calls) == 2:
            raise sa.exc.OperationalError("UPDATE", {}, Exception("disk full"))
        return save(self, connection, values)

    with monkeypatch.context() as patch:
        patch.setattr(imports.LogImport, "_save", fail)
        result = run(app, log)
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "Error: The database refused: disk full\n"
        "What was stored before stays; 'flask statistics init' creates missing tables.\n"
    )
    assert paths(app) == ALL[:10]
    assert run(app, log).exit_code == 0
    assert paths(app) == ALL


def test_import_twice_at_once_is_refused(make_app: MakeApp, database_url: str, log: Path) -> None:
    app = make_app(database_url)
    state = state_of(app.flask)
    now = datetime(2026, 11, 22)

    def start() -> Iterator[int]:
        one = imports.LogImport(
            state.engine(), state.raw, state.imports, log, excluded=lambda path: False, anonymized=lambda entry: entry
        )
        return one.run(one.prepare(again=False, now=now), utc_now=lambda: now)

    first, second = start(), start()
    next(first)
    with pytest.raises(imports.ImportRefused, match=r"^Another process is importing access.log; this one stopped\.$"):
        next(second)
    list(first)
    assert paths(app) == ALL


def test_import_of_damaged_gzip_keeps_the_lines_before(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    text = "".join(line(number % 3600) for number in range(2000))
    log.write_bytes(gzip.compress(text.encode())[:-100])
    result = run(app, log)
    assert result.exit_code == 1
    assert "Error: access.log: the compressed data are damaged or end early: " in result.stderr
    stored = len(app.rows())
    assert 0 < stored < 2000
    assert run(app, log).exit_code == 1
    assert len(app.rows()) == stored


def test_import_without_its_table(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    with app.flask.app_context():
        app.db.drop_all()
    result = run(app, log)
    assert result.exit_code == 1
    assert "Error: The database refused: no such table: statistics_import" in result.stderr
    assert "'flask statistics init' creates missing tables." in result.stderr


# ---- what is no log ----------------------------------------------------------------------------------------------


def test_import_shows_the_first_malformed_lines(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    log.write_text(line(1) + "".join(f"nonsense {number}\n" for number in range(7)) + line(2))
    result = run(app, log)
    assert result.exit_code == 0
    assert paths(app) == ["/1", "/2"]
    assert result.stderr.splitlines()[1:] == [
        "7 malformed lines left out:",
        *(f"  line {number + 2}: not in the common or combined log format: 'nonsense {number}'" for number in range(5)),
        "  ...",
    ]


def test_import_of_no_log_stores_nothing(make_app: MakeApp) -> None:
    app = make_app()
    result = run(app, Path(__file__))
    assert (result.exit_code, app.rows()) == (1, [])
    assert result.stderr.endswith("Error: test_imports.py is no access log in the common or combined format.\n")


def test_import_holds_few_of_the_lines_that_are_too_long(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BATCH_CHARACTERS", 250)
    batches: list[int] = []
    rows = imports.LogImport._rows

    def note(self: imports.LogImport, job: imports.Import, batch: list[str]) -> list[dict[str, Any]]:
        batches.append(len(batch))
        return rows(self, job, batch)

    monkeypatch.setattr(imports.LogImport, "_rows", note)
    log = tmp_path / "access.log"
    log.write_text("".join([line(0), "x" * 1_000 + "\n", "x" * 1_000 + "\n", line(1), line(2)]))
    app = make_app()
    assert run(app, log).exit_code == 0
    assert batches == [2, 1, 2, 0]
    assert paths(app) == ["/0", "/1", "/2"]
    assert (job(app).lines, job(app).malformed, job(app).finished_at is not None) == (5, 2, True)


def test_import_counts_the_pieces_of_a_line_that_is_too_long(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (access_log, imports):
        monkeypatch.setattr(module, "MAX_LINE", 200)
    log = tmp_path / "access.log"
    log.write_text(line(0) + "x" * 200 * 9 + "\n" + line(1))
    app = make_app()
    run(app, log)
    assert job(app).lines == 1 + 9 + 1 + 1  # the end of the line is a piece as well
    log.write_text(log.read_text() + line(2))
    run(app, log)
    assert paths(app) == ["/0", "/1", "/2"]


def test_import_of_an_empty_file(make_app: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    result = run(make_app(), tmp_path / "empty.log")
    assert (result.exit_code, result.stderr) == (1, "Error: empty.log is empty.\n")


def test_import_of_a_missing_file(make_app: MakeApp, tmp_path: Path) -> None:
    assert run(make_app(), tmp_path / "missing.log").exit_code == 2


# ---- a real log, counted twice -----------------------------------------------------------------------------------


def count_days(path: Path) -> dict[str, dict[str, Any]]:
    """Counts by day, made with nothing of this package."""
    days: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"hits": 0, "visitors": set(), "codes": Counter(), "paths": Counter()}
    )
    for text in path.read_text("utf-8").splitlines():
        address, date, request, status = re.match(r'(\S+) .*?\[(\S+) .*?\] "(.*?)" (\d+)', text).groups()  # type: ignore[union-attr]
        day = days[datetime.strptime(date, "%d/%b/%Y:%H:%M:%S").strftime("%Y-%m-%d")]
        day["hits"] += 1
        day["visitors"].add(address)
        day["codes"][int(status)] += 1
        day["paths"]["/" + unquote(re.split("[?#]", request.split(" ")[1])[0]).lstrip("/")] += 1
    return days


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        pytest.param(
            SAMPLE,
            5000,
            marks=pytest.mark.skipif(
                not SAMPLE.exists(), reason="the sample of a real access log is not in ../shared/data"
            ),
        ),
        (FIXTURE, 12),
    ],
    ids=["sample", "fixture"],
)
def test_import_of_a_log_answers_what_an_independent_count_does(
    make_app: MakeApp, database_url: str, monkeypatch: pytest.MonkeyPatch, source: Path, rows: int
) -> None:
    monkeypatch.setattr(imports, "BATCH", 5_000)
    app = make_app(database_url)
    assert run(app, source).exit_code == 0
    days = count_days(source)
    assert sum(day["hits"] for day in days.values()) == len(app.rows()) == rows
    for day, counted in days.items():
        span = f"start={day}&end={day}"
        summary = app.json(f"summary?{span}")
        assert (summary["hits"], summary["visitors"]) == (counted["hits"], len(counted["visitors"]))
        codes = app.json(f"breakdown/status_code?{span}")["rows"]
        assert {row["value"]: row["hits"] for row in codes} == counted["codes"]
        top = sorted(counted["paths"].items(), key=lambda item: (-item[1], item[0]))[:20]
        found = app.json(f"breakdown/path?{span}&limit=20")["rows"]
        assert [(row["value"], row["hits"]) for row in found] == top
    first, last = min(days), max(days)
    points = app.json(f"series?unit=day&start={first}&end={last}")["points"]
    assert {point["start"][:10]: point["hits"] for point in points if point["hits"]} == {
        day: counted["hits"] for day, counted in days.items()
    }


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(None, {"192.0.2.7"}), ("truncate", {"192.0.2.0"})],
)
def test_import_stores_what_the_settings_let_be_stored(
    make_app: MakeApp, tmp_path: Path, setting: str | None, expected: set[str]
) -> None:
    found = anonymized_import(make_app, tmp_path, STATISTICS_ANONYMIZE_IP=setting)
    assert {row.remote_address for row in found} == expected
    assert {row.referrer for row in found} == {"https://r.example/a?token=***&b=1"}


def test_import_hashes_each_day_under_another_secret(make_app: MakeApp, tmp_path: Path) -> None:
    found = anonymized_import(make_app, tmp_path, STATISTICS_ANONYMIZE_IP="hash", STATISTICS_STRIP_REFERRER_QUERY=True)
    first, again, next_day = (row.remote_address for row in found)
    assert first == again != next_day
    assert {len(first), len(next_day)} == {16}
    assert {row.referrer for row in found} == {"https://r.example/a"}


def anonymized_import(make_app: MakeApp, folder: Path, **config: Any) -> list[Any]:
    lines = [
        f'192.0.2.7 - - [{day}/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "https://r.example/a?token=x&b=1" "curl"'
        for day in (20, 20, 21)
    ]
    path = folder / "private.log"
    path.write_text("\n".join(lines) + "\n")
    app = make_app(**config)
    assert run(app, path).exit_code == 0
    return app.rows()
