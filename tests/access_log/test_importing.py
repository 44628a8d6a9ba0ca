"""Access logs into the raw table: nothing lost, nothing twice, whatever stops an import."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from click.testing import Result

from flask_statistics.access_log import formats, importing, reading
from flask_statistics.state import state_of

from ..conftest import App

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MakeApp = Callable[..., App]
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "access-sample.log"
FIXTURE = Path(__file__).parents[1] / "data" / "access.log"
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
    monkeypatch.setattr(importing, "BATCH", 10)


def run(app: App, path: Path, *options: str) -> Result:
    return app.flask.test_cli_runner().invoke(args=["statistics", "import-log", str(path), *options])


def paths(app: App) -> list[str]:
    return [row.path for row in app.rows()]


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
        rf"Importing other\.log\nError: other\.log was imported before: all of its {lines} requests are stored\. "
        r"Use --again to store them a second time\.\n",
        result.stderr,
    )
    assert len(app.rows()) == lines


def test_import_again(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    run(app, log)
    assert run(app, log, "--again").exit_code == 0
    assert paths(app) == ALL * 2
    assert run(app, log).exit_code == 1  # and a third time must be asked for as well
    assert paths(app) == ALL * 2


def test_import_of_a_file_that_has_grown_takes_the_new_lines(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    whole = log.read_text()
    log.write_text(whole[: whole.index("/20 ")])  # the server has written half of a line
    result = run(app, log)
    assert result.exit_code == 0
    assert "The last line has no end yet: it waits for the next import.\n" in result.stdout
    assert (result.stderr, paths(app)) == ("Importing access.log\n", ALL[:20])
    log.write_text(whole)
    result = run(app, log)
    assert result.stdout.startswith("5 requests imported")
    assert "20 requests left out: imported before. --again stores them a second time.\n" in result.stdout
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
    """Let the import fail at a line, once it knows the format."""
    read, seen = formats.Common.__call__, iter(range(1 - 10, 1000))  # ten lines are looked at before

    def read_or_fail(self: formats.Common, text: str) -> Any:
        if next(seen) == at:
            raise error
        return read(self, text)

    monkeypatch.setattr(formats.Common, "__call__", read_or_fail)


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
    assert "15 requests imported" in run(app, log).stdout
    assert paths(app) == ALL


def test_import_stores_rows_and_progress_together(
    make_app: MakeApp, database_url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(database_url)
    sent = iter(range(1, 99))

    def fail(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT") and next(sent) == 4:  # the rows of the second batch
            raise sa.exc.OperationalError(statement, {}, Exception("database or disk is full"))

    with app.flask.app_context():
        engine = state_of(app.flask).engine()
    sa.event.listen(engine, "before_cursor_execute", fail)
    try:
        result = run(app, log)
    finally:
        sa.event.remove(engine, "before_cursor_execute", fail)
    assert result.exit_code == 1
    assert "Error: The database refused: database or disk is full\n" in result.stderr
    assert paths(app) == ALL[:10]
    assert run(app, log).exit_code == 0
    assert paths(app) == ALL


def test_import_twice_at_once_is_refused(make_app: MakeApp, database_url: str, log: Path) -> None:
    app = make_app(database_url)
    state = state_of(app.flask)

    def start() -> Iterator[int]:
        rules = importing.Rules(
            excluded=lambda path: False,
            stored_address=lambda address, stamp: address,
            stored_path=lambda path: path,
            stored_query=lambda query: query,
            stored_referrer=lambda referrer: referrer,
            stored_agent=lambda agent: agent,
            own_from=lambda day: datetime(9999, 1, 1),
        )
        with log.open("rb") as file:
            yield from importing.LogImport(state.engine(), state.raw, state.imports, rules).run(file, "access.log")

    first, second = start(), start()
    next(first)
    next(second)  # it sees what the first one stored
    assert paths(app) == ALL[:10]
    next(second)
    assert paths(app) == ALL[:20]
    with pytest.raises(
        importing.ImportRefused, match=r"^Another process is importing the same lines; this one stopped\.$"
    ):
        list(first)
    list(second)
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
    assert "Error: The database refused: no such table: request\nThe table 'request' is missing: run" in result.stderr


# ---- what is no log ----------------------------------------------------------------------------------------------


def test_import_shows_the_first_malformed_lines(make_app: MakeApp, log: Path) -> None:
    app = make_app()
    log.write_text(line(1) + "".join(f"nonsense {number}\n" for number in range(7)) + line(2))
    result = run(app, log)
    assert result.exit_code == 1  # more than one line in a hundred
    assert paths(app) == ["/1", "/2"]
    assert result.stderr.splitlines()[1:-2] == [
        "7 malformed lines left out, not in the format 'common':",
        *(f"  line {number + 2}: not in the common or combined log format: 'nonsense {number}'" for number in range(5)),
        "  ...",
    ]


def test_import_of_no_log_stores_nothing(make_app: MakeApp) -> None:
    app = make_app()
    result = run(app, Path(__file__))
    assert (result.exit_code, app.rows()) == (1, [])
    assert "Error: test_importing.py is in no known format. Its first line is: " in result.stderr
    assert "Say which one it is with --format NAME" in result.stderr


def test_import_reads_past_lines_that_are_too_long(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 200)
    monkeypatch.setattr(importing, "BATCH_CHARACTERS", 450)
    log = tmp_path / "access.log"
    log.write_text("".join([line(0), "x" * 200 * 9 + "\n", "x" * 1_000 + "\n", line(1), line(2)]))
    app = make_app()
    result = run(app, log)
    assert paths(app) == ["/0", "/1", "/2"]
    assert "malformed lines left out" in result.stderr


def test_import_of_an_empty_file(make_app: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    result = run(make_app(), tmp_path / "empty.log")
    assert (result.exit_code, result.stderr) == (1, "Importing empty.log\nError: empty.log is empty.\n")


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
    monkeypatch.setattr(importing, "BATCH", 5_000)
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


# ---- the same requests in other files ----------------------------------------------------------------------------


def write(path: Path, numbers: range, *, around: Callable[[bytes], bytes] = lambda content: content) -> Path:
    path.write_bytes(around("".join(map(line, numbers)).encode()))
    return path


@pytest.mark.parametrize(
    "around",
    [
        gzip.compress,
        lambda content: gzip.compress(content[:999], 1) + gzip.compress(content[999:]),
        bz2.compress,
        lzma.compress,
        lambda content: zstd.compress(content),
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: b"\0" * 5_000 + content,
    ],
    ids=["gzip", "two gzips", "bzip2", "xz", "Zstandard", "CRLF", "byte order mark", "NULs after copytruncate"],
)
def test_import_of_a_copy_is_refused(
    make_app: MakeApp, log: Path, tmp_path: Path, around: Callable[[bytes], bytes]
) -> None:
    app = make_app()
    run(app, log)
    result = run(app, write(tmp_path / "access.log.1", range(25), around=around))
    assert result.exit_code == 1
    assert "access.log.1 was imported before: all of its 25 requests are stored." in result.stderr
    assert paths(app) == ALL
    fresh = make_app("sqlite://")
    assert run(fresh, tmp_path / "access.log.1").exit_code == 0
    assert ({row.remote_address for row in fresh.rows()}, len(fresh.rows())) == ({"192.0.2.7"}, 25)


def test_import_of_overlapping_files_stores_each_request_once(
    make_app: MakeApp, database_url: str, tmp_path: Path
) -> None:
    app = make_app(database_url)
    for name, numbers in [("b", range(10, 25)), ("a", range(18)), ("d", range(5, 40)), ("c", range(12, 30))]:
        run(app, write(tmp_path / name, numbers))
    assert sorted(paths(app), key=lambda path: int(path[1:])) == [f"/{number}" for number in range(40)]


def test_import_stores_what_is_twice_in_a_file_twice(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    log = tmp_path / "access.log"
    log.write_text(line(1) * 3 + line(2))
    run(app, log)
    assert paths(app) == ["/1", "/1", "/1", "/2"]
    log.write_text(line(1) * 5 + line(2) * 2)
    assert "3 requests imported" in run(app, log).stdout


def test_import_of_many_files_in_order_of_time(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    write(tmp_path / "access.log", range(20, 30))
    write(tmp_path / "access.log.1", range(10, 20))
    write(tmp_path / "access.log.2.gz", range(10), around=gzip.compress)
    result = run(app, tmp_path / "access.log*")
    assert (result.exit_code, paths(app)) == (0, [f"/{number}" for number in range(30)])
    assert "10 requests imported of access.log.2.gz in" in result.stdout


def test_import_of_standard_input(make_app: MakeApp) -> None:
    app = make_app()
    command = ["statistics", "import-log", "-"]
    result = app.flask.test_cli_runner().invoke(args=command, input="".join(map(line, range(25))).rstrip("\n"))
    assert (result.exit_code, paths(app)) == (0, ALL)  # nothing is written behind the last line any more


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("logs", None, "is a directory: name its files"),
        ("a.zip", b"PK\x03\x04" + b"x" * 50, "it is a zip archive: unpack it"),
        ("a.log", b'INFO:     203.0.113.9:55130 - "GET /a HTTP/1.1" 200 OK\n', "Its lines have no time"),
        ("a.bz2", bz2.compress(b"x" * 99)[:-9], "the compressed data are damaged or end early"),
    ],
)
def test_import_says_why_a_file_is_none(
    make_app: MakeApp, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    result = run(make_app(), path)
    assert result.exit_code != 0
    assert message in result.stderr


# ---- what the app recorded itself --------------------------------------------------------------------------------


def test_import_leaves_out_what_the_app_recorded(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    app.flask.test_client().get("/own")
    first = app.row().date
    log = tmp_path / "access.log"
    template = '192.0.2.7 - - [{:%d/%b/%Y:%H:%M:%S} +0000] "GET /app/{} HTTP/1.1" 200 5 "-" "curl/8"\n'
    moments = [first + timedelta(seconds=seconds) for seconds in (-90_000, -3, 0, 3)]
    log.write_text("".join(template.format(moment, number) for number, moment in enumerate(moments)))
    result = run(app, log, "--strip-prefix", "/app/")
    assert "2 requests left out: of days on which the app recorded its requests itself." in result.stdout
    assert paths(app) == ["/own", "/0", "/1"]
    run(app, log, "--again", "--strip-prefix", "/app/")
    assert paths(app) == ["/own", "/0", "/1", "/0", "/1", "/2", "/3"]


def test_import_until(make_app: MakeApp, log: Path) -> None:
    app = make_app(STATISTICS_TIMEZONE="Europe/Berlin")
    result = run(app, log, "--until", "2026-05-17 12:00:10")
    assert "15 requests left out: not before --until." in result.stdout
    assert paths(app) == ALL[:10]


def test_import_leaves_out_rows_that_would_be_deleted_uncounted(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, STATISTICS_RAW_RETENTION=timedelta(days=30))
    command = app.flask.test_cli_runner()
    assert "Run 'flask statistics rollup'" in run(app, write(tmp_path / "a.log", range(25))).stdout
    assert command.invoke(args=["statistics", "rollup"]).exit_code == 0
    assert app.rows() == []
    other = tmp_path / "b.log"
    other.write_text("".join(line(number, path="/other") for number in range(5)))
    result = run(app, other)
    assert (result.exit_code, app.rows()) == (1, [])
    assert "5 requests left out: the raw rows of their days were deleted" in result.stderr
    assert "STATISTICS_RAW_RETENTION = None" in result.stderr
    assert app.json("summary?start=2026-05-17&end=2026-05-17")["hits"] == 25


def test_import_says_whose_address_is_none(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    log = tmp_path / "access.log"
    log.write_text(line(1).replace("192.0.2.7", "dialin.isp.example") + line(2).replace("192.0.2.7", ""))
    assert "2 requests of clients that are no address, such as 'dialin.isp.example'." in run(app, log).stdout
    assert [row.remote_address for row in app.rows()] == ["dialin.isp.example", None]


def test_import_refuses_a_format_that_nobody_knows(make_app: MakeApp, log: Path) -> None:
    for text, message in [("xml", "but must be one of common, json"), ("$remote_addr $status", "names no date")]:
        result = run(make_app(), log, "--format", text)
        assert (result.exit_code, message in result.stderr) == (2, True)
