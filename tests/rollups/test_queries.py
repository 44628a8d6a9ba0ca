"""The central test: for random traffic, spans, filters and runs of the job, rollups answer what the raw table answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from flask_statistics.filters import Filters, read_filters
from flask_statistics.queries.answers import Only
from flask_statistics.queries.interface import EVERYTHING, HITS, PERCENTILES, SUMS, USUAL, VISITORS, WAITED
from flask_statistics.rollups import closing, contents
from flask_statistics.spans import Span

from ..conftest import RAW_SHAPES
from ..rollup_bench import DIMENSIONS, ROLLED_UP, Rolled, alike, killed_at

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
START = datetime(2026, 9, 20)
"""Before the clocks change in all of these zones."""
DAYS = 50
PATHS = ("/", "/login", "/Log", "/log ", "/ü", "/u", "")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "2001:DB8::1", "host.example", "")
"""Also as other writers have them: in another form, none, or a name."""
SORTS = (
    *("-hits", "hits", "value", "-value", "-visitors", "-size", "last_requested", "-p95", "-server_error_share"),
    *("-db_queries_total", "db_time_p95", "-http_calls_p95", "http_calls_total"),
)


def moments() -> st.SearchStrategy[datetime]:
    """Any instant, and often the same ones, or ones at the edge of an hour."""
    seconds = st.one_of(
        st.integers(0, DAYS * 86_400_000_000),
        st.integers(0, DAYS * 24).map(lambda hour: hour * 3_600_000_000),
        st.integers(0, DAYS * 48).map(lambda half: half * 1_800_000_000 - 1),
        st.sampled_from([DAYS * 40_000_000_000, 35 * 86_400_000_000 + 5_400_000_000]),
    )
    return seconds.map(lambda number: START + timedelta(microseconds=max(0, number)))


def rows(dates: st.SearchStrategy[datetime]) -> st.SearchStrategy[list[dict[str, Any]]]:
    def some(*values: Any) -> st.SearchStrategy[Any]:
        return st.one_of(st.none(), st.sampled_from(values))

    row = st.fixed_dictionaries(
        {
            "date": dates,
            "path": some(*PATHS),
            "method": some("GET", "POST"),
            "status_code": some(200, 304, 404, 410, 500, 503),
            "size": st.one_of(st.none(), st.integers(0, 5_000), st.just(2**40)),
            "response_time": st.one_of(st.none(), st.floats(0, 3), st.sampled_from([0.0, 1e-6, 4000.0])),
            "remote_address": some(*ADDRESSES),
            "device": some("bot", "desktop", "mobile"),
            "browser": some("firefox 72.0", "firefox 73.0", "None None", "chrome 1"),
            "platform": some("Windows", "windows", ""),
            "referrer": some("https://www.a.example/x", "http://a.example/y", "https://b.example/", ""),
            "exception": some("KeyError('x')", "KeyError('y')", "ValueError()"),
            "issue": some("KeyError: “…” · a.py in f", "ValueError"),
            "user_agent": some("curl/8", "Wget/1", ""),
            "country": some("DE", "FR", ""),
            "host": some("a.example", "A.example", "b.example"),
            "language": some("de", "de-AT", "en"),
            "release": some("1.0", "1.1", "1.0 "),
            "user": some("ann", "Ann", "bob"),
            "db_time": st.one_of(st.none(), st.floats(0, 3), st.sampled_from([0.0, 1e-6, 4000.0])),
            "db_queries": st.one_of(st.none(), st.integers(0, 60), st.sampled_from([5_000, 2**31 - 1])),
            "http_time": st.one_of(st.none(), st.floats(0, 3)),
            "http_calls": some(0, 1, 2, 300),
        }
    )
    return st.lists(row, max_size=25)


def spans(zone: Any) -> st.SearchStrategy[Span]:
    def ordered(edges: tuple[datetime, datetime]) -> Span:
        return Span(min(edges), max(edges) + timedelta(microseconds=1), zone)

    def days(edges: tuple[int, int]) -> Span:
        whole = Span(START - timedelta(days=2), START + timedelta(days=DAYS + 3), zone).edges("day")
        return Span(whole[1 + min(edges)], whole[2 + max(edges)], zone)

    numbers = st.integers(0, DAYS)
    return st.one_of(st.tuples(moments(), moments()).map(ordered), st.tuples(numbers, numbers).map(days))


def filters(*, with_clients: bool = True) -> st.SearchStrategy[Filters]:
    clients = {"address": (*ADDRESSES, "192.0.2.99"), "network": ("192.0.2.0/24", "2001:db8::/48", "")}
    values = (clients if with_clients else {}) | {
        "path": PATHS,
        "status_code": ("200", "4xx", "5xx", "503", ""),
        "browser": ("firefox", "chrome", "", "opera"),
        "platform": ("Windows", ""),
        "device": ("bot", "desktop", ""),
        "referrer": ("a.example", "b.example", ""),
        "exception": ("KeyError", ""),
        "issue": ("KeyError: “…” · a.py in f", "ValueError", ""),
        "country": ("DE", ""),
        "host": ("a.example", "b.example"),
        "language": ("de", "de-AT", ""),
        "release": ("1.0", "1.1"),
        "user": ("ann", "bob", ""),
    }
    one = st.sampled_from(sorted(values)).flatmap(
        lambda name: st.tuples(st.sampled_from([name, name + "!"]), st.sampled_from(values[name]))
    )
    others = st.sampled_from([("q", "lo"), ("q", "Ü"), ("at", "tue"), ("at", "15"), ("at", "sat3"), ("at", "0")])
    pairs = st.lists(st.one_of(one, one, one, others), max_size=4)
    return pairs.map(lambda some: read_filters(some, DIMENSIONS)[0])


def _after(moment: datetime, microseconds: int) -> datetime:
    return moment + timedelta(microseconds=microseconds)


def live(rolled: Rolled, data: st.DataObject, expected: Rolled) -> datetime:
    """Let requests come in and the job run, at random; the end is the present."""
    joined_after = timedelta(days=data.draw(st.sampled_from([2, 20])))
    with (
        mock.patch.object(closing, "MOST_JOINED", data.draw(st.sampled_from([2, 1_000_000]))),
        mock.patch.object(closing, "JOINED_AFTER", joined_after),
    ):
        return _live(rolled, data, expected)


def _live(rolled: Rolled, data: st.DataObject, expected: Rolled) -> datetime:
    now = START + timedelta(days=data.draw(st.integers(1, DAYS)), minutes=data.draw(st.integers(0, 1439)))
    rolled.insert(first := data.draw(rows(moments())))
    expected.insert(first)
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(["run", "run", "killed", "twice"])):
            case "killed":
                with killed_at(rolled.engine, data.draw(st.integers(0, 12))):
                    rolled.another_job().run(now)
                now += timedelta(minutes=2)  # its lease has to expire
            case "twice":
                rolled.job.run(now)
                rolled.job.run(now)
            case _:
                rolled.job.run(now)
        around = st.integers(-86_400_000_000, 90_000_000_000).map(partial(_after, now))
        rolled.insert(more := data.draw(rows(around)))
        expected.insert(more)
        now += timedelta(minutes=data.draw(st.sampled_from([1, 59, 60 * 7, 60 * 24 * 3])))
    return now


def compare(rolled: Rolled, expected: Rolled, data: st.DataObject) -> None:
    """Ask both everything."""
    clients_known = rolled.job.retention.raw is None
    span = data.draw(spans(rolled.zone), label="span")
    chosen = data.draw(filters(with_clients=clients_known), label="filters")
    dimensions = sorted(DIMENSIONS if clients_known else ROLLED_UP)
    unit = data.draw(st.sampled_from(["hour", "day", "week", "month"]), label="unit")
    want = data.draw(
        st.sampled_from([EVERYTHING, USUAL, WAITED, *map(frozenset, ([SUMS], [VISITORS], [PERCENTILES], ["db_time"]))])
    )
    dimension, sort = data.draw(st.sampled_from(dimensions)), data.draw(st.sampled_from(SORTS))
    page = {"sort": sort, "limit": data.draw(st.integers(1, 5)), "offset": data.draw(st.integers(0, 2))}
    search = data.draw(st.sampled_from(["", "", "f", "Lo"]))
    loaded = mock.patch.object(contents, "MOST_LOADED", data.draw(st.sampled_from([0, 100, 24_000_000])))
    kept = mock.patch.object(contents, "MOST_KEPT", data.draw(st.sampled_from([0, 100, 24_000_000])))
    with expected.raw() as raw, kept, rolled.rollups() as rollups, loaded:

        def same(question: str, *arguments: Any, **options: Any) -> None:
            right = getattr(raw, question)(*arguments, **options)
            answer = getattr(rollups, question)(*arguments, **options)
            assert alike(answer, right), f"{question}:\n{answer}\n{right}"

        same("summary", span, chosen, want=want)
        assert rollups.summary(span, chosen, want=HITS).hits == raw.summary(span, chosen, want=HITS).hits
        if span.count(unit) < 300:
            same("series", span, unit, chosen, want=want)
        if span.count("hour") < 1_000:
            same("week", span, chosen, want=want)
        # what is measured to sort by it may be in the answer or not
        wanted = want if sort.removeprefix("-") in ("hits", "value") else EVERYTHING
        same("breakdown", dimension, span, chosen, want=wanted, search=search, **page)
        for name, answer in rollups.breakdowns(dimensions, span, chosen, limit=3).items():
            right = raw.breakdown(name, span, chosen.without(name), limit=3, want=HITS)
            assert [(row.value, row.measures.hits) for row in answer.rows] == [
                (row.value, row.measures.hits) for row in right.rows
            ]
            assert (answer.total, answer.hits) == (right.total, right.hits)
        if dimension in ROLLED_UP and span.count(unit) < 300:
            same("profiles", dimension, span, unit, chosen, limit=page["limit"])
            listed = raw.breakdown(dimension, span, chosen, limit=3, want=HITS).rows
            same("blocks", dimension, tuple(row.value for row in listed), span, unit, chosen)
        together = data.draw(st.lists(st.sampled_from(dimensions), min_size=1, max_size=3, unique=True))
        same("groups", together, span, chosen, limit=4)
        if clients_known:
            same("clients", ADDRESSES[:-1], span, chosen)
            same("exceptions", span, chosen, limit=3)
            same("links", span, chosen, limit=3)
            compare_logs(raw, rollups, span, chosen)
            for slowest in (False, True):
                asked: dict[str, Any] = {"limit": 5, "only": Only(0.0, "a"), "slowest": slowest}
                assert rollups.requests(span, chosen, **asked) == raw.requests(span, chosen, **asked)


def compare_logs(raw: Any, rollups: Any, span: Span, chosen: Filters) -> None:
    """Page through the requests to their end and back; keys of both tables are the same, as rows came in together."""
    right, answer = raw.requests(span, chosen, limit=4), rollups.requests(span, chosen, limit=4)
    while True:
        assert answer == right
        if right.older is None:
            break
        before = right.older
        right, answer = (some.requests(span, chosen, limit=4, before=before) for some in (raw, rollups))
    if right.newer is not None:
        newer = (some.requests(span, chosen, limit=4, after=right.newer) for some in (raw, rollups))
        assert next(newer) == next(newer)


@pytest.fixture(scope="module", params=RAW_SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def urls(shape: str, new_database: Any) -> Iterator[tuple[str, str]]:
    with new_database(shape) as one, new_database(shape) as other:
        yield one, other


EXAMPLES = {"sqlite": 20, "postgresql": 8, "mariadb": 8, "postgresql_partitioned": 6, "postgresql_sharded": 5}
"""Most where a statement costs least: what differs between databases is the SQL, which every example asks all of."""
PHASES = (Phase.explicit, Phase.generate)
"""No shrinking: it would take minutes, and all draws are printed."""


def drawn(shape: str) -> Callable[[Callable[[st.DataObject], None]], Callable[[], None]]:
    """Makes a check of drawn data a test without arguments; each shape has draws of its own, so that more is tried."""

    def decorate(check: Callable[[st.DataObject], None]) -> Callable[[], None]:
        few = settings(max_examples=EXAMPLES[shape], phases=PHASES)
        test: Any = few(given(data=st.data())(check))
        return seed(RAW_SHAPES.index(shape))(test) if few.derandomize else test  # type: ignore[no-any-return]

    return decorate


def test_rollups_equal_raw(shape: str, urls: tuple[str, str]) -> None:
    @drawn(shape)
    def check(data: st.DataObject) -> None:
        check_equal(urls, data)

    check()


def check_equal(urls: tuple[str, str], data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    rolled, expected = Rolled(urls[0], zone), Rolled(urls[1], zone)
    try:
        now = live(rolled, data, expected)
        assert rolled.another_job().run(now) is not None
        for _ in range(3):
            compare(rolled, expected, data)
    finally:
        rolled.close()
        expected.close()


def test_rollups_outlive_raw(shape: str, urls: tuple[str, str]) -> None:
    @drawn(shape)
    def check(data: st.DataObject) -> None:
        check_outlived(urls, data)

    check()


def check_outlived(urls: tuple[str, str], data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    rolled, expected = Rolled(urls[0], zone, raw=timedelta(days=3)), Rolled(urls[1], zone)
    try:
        now = START + timedelta(days=DAYS, minutes=data.draw(st.integers(0, 1439)))
        recorded = data.draw(rows(moments()))
        rolled.insert(recorded)
        expected.insert(recorded)
        rolled.job.run(now)
        rolled.job.run(now + timedelta(hours=2))
        with rolled.engine.connect() as connection:
            oldest = rolled.source.oldest(connection)
        # a partition waits until all of its month is too old
        assert oldest is None or oldest >= now - timedelta(days=36 if "_partitioned" in urls[0] else 5)
        for _ in range(3):
            compare(rolled, expected, data)
    finally:
        rolled.close()
        expected.close()
