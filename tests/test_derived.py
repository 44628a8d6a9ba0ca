"""Better rules for user agents, and countries, applied to what was stored before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import derived
from flask_statistics.state import state_of

from . import mmdb
from .conftest import App, original_model

MakeApp = Callable[..., App]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "BATCH", 3)


def stored(app: App) -> list[tuple[Any, ...]]:
    return [(row.browser, row.platform, row.device) for row in app.rows()]


@pytest.mark.parametrize("rollups", [True, False])
def test_rebuild_all_corrects_rows_of_older_rules(make_app: MakeApp, database_url: str, rollups: bool) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False)
    day = datetime(2026, 3, 1, 12)
    agents = [
        "kube-probe/1.31",
        "node",
        None,
        "",
        "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    ]
    app.insert(*({"date": day, "path": "/", "user_agent": agent, "device": "mobile"} for agent in agents * 2))
    result = app.flask.test_cli_runner().invoke(args=["statistics", "rebuild", "--all"])
    assert (result.exit_code, result.output.count("8 raw rows got another browser")) == (0, 1)
    expected = [
        (None, None, "bot"),
        (None, None, "bot"),
        (None, None, "mobile"),
        (None, None, "other"),
        ("firefox 144.0", "Linux", "desktop"),
    ]
    assert stored(app) == expected * 2
    answer = app.json("breakdown/bot?start=2026-03-01&end=2026-03-01")
    assert [(row["value"], row["hits"]) for row in answer["rows"]] == [(None, 6), ("library", 2), ("monitor", 2)]
    assert (
        "0 raw rows got another" in app.flask.test_cli_runner().invoke(args=["statistics", "rebuild", "--all"]).output
    )


def test_correct_follows_a_key_of_two_columns(make_app: MakeApp) -> None:
    def model(db: Any) -> type[Any]:
        columns = {
            "host": db.Column(db.String(9), primary_key=True),
            "number": db.Column(db.Integer, primary_key=True),
            "date": db.Column(db.DateTime),
            "user_agent": db.Column(db.String(200)),
            "device": db.Column(db.String(9)),
        }
        return type("Request", (db.Model,), columns)

    app = make_app(model=model, STATISTICS_ENABLED=False)
    day = datetime(2026, 3, 1, 12)
    app.insert(
        *({"host": host, "number": number, "date": day, "user_agent": "node"} for host in "ab" for number in range(5))
    )
    app.flask.test_cli_runner().invoke(args=["statistics", "rebuild", "--all"])
    with state_of(app.flask).engine().connect() as connection:
        assert connection.scalars(sa.select(app.Request.__table__.c.device)).all() == ["bot"] * 10


# ---- fill --------------------------------------------------------------------------------------------------------

DAY = datetime(2026, 3, 1, 12)


def command(app: App, *arguments: str) -> tuple[int, str]:
    result = app.flask.test_cli_runner().invoke(args=["statistics", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def countries(tmp_path: Path) -> Path:
    path = tmp_path / "countries.mmdb"
    mmdb.write(path, {"192.0.2.0/24": {"country_code": "AT"}, "2001:db8::/32": {"country_code": "JP"}})
    return path


def test_fill_country_and_bot_and_the_rollups_of_their_days(
    make_app: MakeApp, database_url: str, countries: Path
) -> None:
    app = make_app(database_url, STATISTICS_COUNTRY=countries, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    rows = [
        ("192.0.2.7", None, "node"),
        ("2001:db8::1", None, None),
        ("192.0.2.8", "IS", "node"),
        ("10.0.0.1", None, None),
        (None, None, None),
        ("0123456789abcdef", "FR", None),
    ]
    app.insert(
        *(
            {"date": DAY, "remote_address": address, "country": country, "user_agent": agent}
            for address, country, agent in rows
        )
    )
    assert command(app, "rollup")[0] == 0
    asked = "start=2026-03-01&end=2026-03-01"
    assert [row["value"] for row in app.json(f"breakdown/country?{asked}")["rows"]] == [None, "FR", "IS"]
    code, output = command(app, "fill", "country", "bot")
    assert (code, "3 raw rows got another country or bot." in output, "1 period built" in output) == (0, True, True)
    assert [row.country for row in app.rows()] == ["AT", "JP", "IS", None, None, "FR"]
    assert [row.bot for row in app.rows()] == ["library", None, "library", None, None, None]
    assert [row.device for row in app.rows()] == [None] * 6
    answer = app.json(f"breakdown/country?{asked}")
    assert [(row["value"], row["hits"]) for row in answer["rows"]] == [
        (None, 2),
        ("AT", 1),
        ("FR", 1),
        ("IS", 1),
        ("JP", 1),
    ]
    assert "All hours that have raw rows are rolled up as they are." in command(app, "verify")[1]
    assert "0 raw rows got another country." in command(app, "fill", "country")[1]


def test_fill_that_was_stopped_goes_on(make_app: MakeApp, countries: Path) -> None:
    app = make_app(STATISTICS_COUNTRY=countries)
    app.insert(*({"date": DAY, "remote_address": "192.0.2.7"} for _ in range(8)))
    state = state_of(app.flask)

    class Stopped(Exception):
        pass

    def stop(_rows: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        derived.correct(state.engine(), state.raw, progress=stop, names=["country"])
    assert [row.country for row in app.rows()] == ["AT"] * 3 + [None] * 5
    assert "5 raw rows got another country." in command(app, "fill", "country")[1]
    assert [row.country for row in app.rows()] == ["AT"] * 8


@pytest.mark.parametrize("pruned", [False, True])
def test_fill_that_was_stopped_goes_on_with_rollups(
    make_app: MakeApp, countries: Path, monkeypatch: pytest.MonkeyPatch, pruned: bool
) -> None:
    app = make_app(STATISTICS_COUNTRY=countries, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    days = [DAY + timedelta(days=number) for number in range(8)]
    app.insert(*({"date": day, "remote_address": "192.0.2.7"} for day in days))
    assert command(app, "rollup")[0] == 0
    if pruned:
        with app.flask.app_context():
            app.db.session.execute(sa.delete(app.Request).where(app.Request.date < days[2]))
            app.db.session.commit()
    correct = derived.correct

    def killed(*arguments: Any, **options: Any) -> Any:
        correct(*arguments, **options)
        raise SystemExit(9)  # as a kill leaves it: all rows are changed, and no day is built

    with monkeypatch.context() as patch:
        patch.setattr(derived, "correct", killed)
        assert command(app, "fill", "country")[0] == 9
    code, output = command(app, "fill", "country")
    assert (code, "0 raw rows got another country." in output) == (0, True)
    assert ("raw rows of theirs are gone" in output) == pruned
    found = app.json("breakdown/country?start=2026-03-01&end=2026-03-08")["rows"]
    assert {row["value"]: row["hits"] for row in found} == ({"AT": 6, None: 2} if pruned else {"AT": 8})
    assert "built" not in command(app, "fill", "country")[1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "No file says which address is where: set STATISTICS_COUNTRY to the path of an .mmdb file."),
        ({"STATISTICS_COUNTRY": "CF-IPCountry"}, "No file says which address is where"),
        ({"STATISTICS_ANONYMIZE_IP": "hash"}, "Addresses are stored as hashes, which have no country."),
    ],
)
def test_fill_country_says_why_it_cannot(make_app: MakeApp, settings: dict[str, Any], said: str) -> None:
    code, output = command(make_app(**settings), "fill", "country")
    assert (code, said in output) == (1, True)


def test_fill_says_which_column_is_missing(make_app: MakeApp) -> None:
    code, output = command(make_app(model=original_model), "fill", "bot")
    assert (code, output) == (1, "Error: The model has no column 'bot', so 'bot' cannot be filled.\n")
    assert command(make_app(), "fill", "path")[0] == command(make_app(), "fill")[0] == 2


def test_channels_and_campaigns_are_filled_in(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    day = datetime(2026, 3, 1, 12)
    came = (
        ("https://www.google.com/", None),
        ("https://shop.example/cart", "utm_source=x"),
        (None, "utm_medium=email"),
        (None, None),
        ("https://friend.example/", "page=2"),
    )
    app.insert(
        *(
            {"date": day, "path": "/", "host": "shop.example", "referrer": referrer, "query_string": query}
            for referrer, query in came
        )
    )
    runner = app.flask.test_cli_runner()
    runner.invoke(args=["statistics", "rollup"])
    result = runner.invoke(args=["statistics", "fill", "channel", "campaign"])
    assert (result.exit_code, result.output.count("5 raw rows got another channel or campaign.")) == (0, 1)
    assert [(row.channel, row.campaign) for row in app.rows()] == [
        ("search", None),
        ("internal", "x"),
        ("mail", None),
        ("direct", None),
        ("links", None),
    ]
    answer = app.json("breakdown/channel?start=2026-03-01&end=2026-03-01")
    assert answer["source"] == "rollup"
    assert [row["value"] for row in answer["rows"]] == ["direct", "internal", "links", "mail", "search"]
    assert "0 raw rows got another" in runner.invoke(args=["statistics", "fill", "channel", "campaign"]).output
