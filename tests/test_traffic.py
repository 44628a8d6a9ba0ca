"""Made-up traffic: the promises of `generate`, and that it looks like a site's."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from flask_statistics import traffic, user_agents
from flask_statistics.countries import NAMES
from flask_statistics.timing.story import load
from flask_statistics.traffic import Row, generate

START, END = datetime(2024, 1, 1), datetime(2024, 1, 29)
COLUMNS = {
    *(
        "response_time",
        "date",
        "method",
        "size",
        "status_code",
        "path",
        "user_agent",
        "remote_address",
        "exception",
        "issue",
    ),
    *("referrer", "browser", "platform", "mimetype", "route", "device", "bot", "query_string", "traceback"),
    *("country", "host", "language", "release", "user", "tenant", "channel", "campaign"),
    *("db_time", "db_queries", "http_time", "http_calls", "story"),
}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(generate(start=START, end=END, requests=60_000, seed=7))


def test_generate_is_the_same_for_a_seed() -> None:
    def first(seed: int) -> list[Row]:
        return list(islice(generate(start=START, end=END, requests=5_000, seed=seed), 500))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_generate_makes_rows_as_they_are_asked_for() -> None:
    ten_years = START + timedelta(days=3650)
    assert next(generate(start=START, end=ten_years, requests=10**12, seed=1))["date"] >= START


@pytest.mark.parametrize("requests", [0, 1, 7, 4_321])
@pytest.mark.parametrize("span", [timedelta(microseconds=1), timedelta(minutes=90, seconds=1), timedelta(days=9)])
def test_generate_gives_so_many_rows_in_order_within_the_span(requests: int, span: timedelta) -> None:
    start = datetime(2024, 2, 28, 23, 59, 59, 999_999)
    dates = [row["date"] for row in generate(start=start, end=start + span, requests=requests, seed=3)]
    assert len(dates) == requests
    assert dates == sorted(dates)
    assert all(start <= date < start + span for date in dates)


def test_generate_columns_and_types(rows: list[Row]) -> None:
    assert all(row.keys() == COLUMNS for row in rows)
    assert {type(row["response_time"]) for row in rows} == {float}
    assert {type(row["size"]) for row in rows} == {int, type(None)}
    assert min(row["response_time"] for row in rows) > 0


def test_places_releases_and_users_are_those_of_a_site(rows: list[Row]) -> None:
    people = [row for row in rows if row["device"] != "bot"]
    assert share(people, country="DE") == pytest.approx(0.43, abs=0.1)
    assert {row["language"] for row in rows if row["device"] == "bot"} == {None}
    assert {row["country"] for row in rows} <= {None, *NAMES}
    assert [*dict.fromkeys(row["release"] for row in rows)] == ["v40", "v41", "v42", "v43"]
    assert 0.05 < 1 - share(people, user=None) < 0.25
    of_users = {(row["user"], row["remote_address"]) for row in people if row["user"]}
    assert len(of_users) == len({user for user, _ in of_users})


def test_generate_limits_visitors_and_paths() -> None:
    found = list(generate(start=START, end=END, requests=20_000, seed=1, visitors=100, paths=50))
    assert len({row["remote_address"] for row in found if row["device"] != "bot"}) == 100
    assert len({row["path"] for row in found if row["route"] is not None}) == 50


@pytest.mark.parametrize("paths", [1, 22, 23, 1_400, 5_000])
def test_pages_are_as_many_different_paths_as_asked_for(paths: int) -> None:
    pages = traffic._pages(Random(1), paths)
    assert len({page.path for page, _ in pages}) == len(pages) == paths
    assert not {page.path for page, _ in pages} & set(traffic._SCANNED_PATHS)


def test_addresses_differ_and_are_nobodys() -> None:
    addresses = {traffic._address(number) for number in range(100_000)}
    assert len(addresses) == 100_000
    assert {address.split(":")[0].split(".")[0] for address in addresses} == {"10", "2001"}
    bots = {traffic._bot_address(number) for number in range(traffic._BOTS)}
    assert len(bots) == traffic._BOTS
    assert {address[:6] for address in bots} <= {"198.18", "198.19"}


def test_visitors_keep_their_user_agent(rows: list[Row]) -> None:
    seen: dict[str, set[str]] = {}
    for row in rows:
        seen.setdefault(row["remote_address"], set()).add(row["user_agent"])
    assert {len(agents) for agents in seen.values()} == {1}
    assert sum(count > 1 for count in Counter(row["remote_address"] for row in rows).values()) > len(seen) / 2


def test_user_agents_say_what_the_parser_says(rows: list[Row]) -> None:
    known = {(row["user_agent"], row["browser"], row["platform"], row["device"]) for row in rows}
    for text, *found in known:
        parsed = user_agents.parse(text)
        assert found == [parsed.browser, parsed.platform, parsed.device]


def test_user_agents_are_many_and_bots_are_bots() -> None:
    people = [agent for agent, _ in traffic._agents(traffic._PEOPLE)]
    bots = [agent for agent, _ in traffic._agents(traffic._BOT_AGENTS)]
    assert 550 <= len({agent.user_agent for agent in people + bots}) <= 570
    assert {agent.device for agent in people} == {"desktop", "mobile", "tablet", "other"}
    assert {agent.device for agent in bots} == {"bot"}


def share(rows: list[Row], **values: Any) -> float:
    return sum(all(row[key] == value for key, value in values.items()) for row in rows) / len(rows)


def test_generate_shares(rows: list[Row]) -> None:
    assert share(rows, device="bot") == pytest.approx(0.15, abs=0.01)
    assert share(rows, status_code=200) == pytest.approx(0.81, abs=0.03)
    assert 0.001 < share(rows, status_code=500) < 0.01
    assert 0.05 < share(rows, size=None) < 0.25
    assert 0.15 < share(rows, referrer=None) < 0.35
    assert {row["method"] for row in rows} == {"GET", "POST", "HEAD", "OPTIONS"}
    assert 130 < len({urlsplit(row["referrer"]).netloc for row in rows if row["referrer"]}) < 160


def test_generate_errors_have_exception_and_traceback(rows: list[Row]) -> None:
    for row in rows:
        failed = row["status_code"] == 500
        assert (row["exception"] is not None) == (row["traceback"] is not None) == failed
    failures = {row["exception"] for row in rows}
    assert "KeyError('cart')" in failures


def test_generate_rhythm_and_incident(rows: list[Row]) -> None:
    by_hour = Counter(row["date"].hour for row in rows)
    assert by_hour[20] > 3 * by_hour[3]
    by_weekday = Counter(row["date"].weekday() for row in rows)
    assert by_weekday[5] < by_weekday[1]
    failures = Counter(row["date"].replace(minute=0, second=0, microsecond=0) for row in rows if row["exception"])
    (worst, errors), (_, second) = failures.most_common(2)
    assert worst == datetime(2024, 1, 26, 13)
    assert errors > 4 * second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end": START}, "start must be before end, both naive UTC: "),
        ({"requests": -1}, "requests must be at least 0, not -1"),
        ({"visitors": 0}, "visitors must be at least 1 and at most 16777216, not 0"),
        ({"visitors": 1 << 25}, "visitors must be at least 1 and at most 16777216, not 33554432"),
        ({"paths": 0}, "paths must be at least 1, not 0"),
    ],
)
def test_generate_refuses_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        generate(**{**dict[str, Any](start=START, end=END, requests=1, seed=1), **arguments})


def test_there_is_something_to_find(rows: list[Row]) -> None:
    def median(release: str, route: str) -> float:
        times = sorted(row["response_time"] for row in rows if (row["release"], row["route"]) == (release, route))
        return float(times[len(times) // 2])

    assert median("v42", "/search") > 1.8 * median("v41", "/search")
    assert median("v42", "/") < 1.3 * median("v41", "/")
    forms = [row for row in rows if row["method"] == "POST" or row["route"] == "/login"]
    failed = {
        tenant: share([row for row in forms if row["tenant"] == tenant], status_code=500)
        for tenant in ("north", "south")
    }
    assert failed["north"] > 1.5 * failed["south"]
    slow = [load(row["story"]) for row in rows if row["route"] == "/category/<slug>" and row["story"]]
    assert any(statement.is_many for story in slow for statement in story.statements)


def test_nobody_waits_for_longer_than_the_request_took(rows: list[Row]) -> None:
    assert all(row["db_time"] + row["http_time"] <= row["response_time"] for row in rows)
    for row in rows:
        told = sum(statement.total_us for statement in load(row["story"]).statements)
        assert told <= row["db_time"] * 1_000_000 + 10
