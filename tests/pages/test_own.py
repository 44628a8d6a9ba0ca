"""Panels and pages of the host's own: page, partial and file of one function, whatever it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import Dimension, PanelQuery, SettingError, Statistics

from ..conftest import App, whole_model
from ..fuzzing import MARKUP, check_markup

MakeApp = Callable[..., App]
NOW = datetime.now(timezone.utc).replace(tzinfo=None)
FAILED = "Could not be computed"


@pytest.fixture(params=[False, True], ids=["raw", "rollups"])
def app(make_app: MakeApp, request: pytest.FixtureRequest) -> App:
    """An app with nine requests."""
    app = make_app(STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=request.param, STATISTICS_SCHEDULER=False)
    app.insert(*({"date": NOW - timedelta(minutes=n), "path": f"/{n % 3}", "browser": "firefox 1"} for n in range(9)))
    if request.param:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    return app


def get(app: App, path: str = "", status: int = 200) -> str:
    response = app.client.get(f"/statistics/{path}")
    assert response.status_code == status, response.text
    return response.text


def section(page: str, name: str) -> str:
    found = re.search(rf'<section [^>]*id="fs-p-{name}".*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


def cells(page: str, name: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", section(page, name), re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def declare(app: App, *rows: Any, name: str = "mine", **options: Any) -> None:
    app.statistics.panel(name, **options)(lambda asked: iter(rows))


# ---- a panel that works ----------------------------------------------------------------------------------------------


def test_panel_is_on_its_page_alone_and_a_file(app: App) -> None:
    @app.statistics.panel("busy", title="Busy paths")
    def busy(asked: PanelQuery) -> Iterator[Any]:
        yield "Path", "Hits"
        for row in asked.breakdown("path", limit=2).rows:
            yield row.value, row.measures.hits

    table = [["Path", "Hits"], ["/0", "3"], ["/1", "3"]]
    page, panel = get(app), get(app, "panel/busy")
    assert cells(page, "busy") == cells(panel, "busy") == table
    assert panel in page
    assert get(app, "export/busy.csv").splitlines() == [",".join(row) for row in table]
    assert app.client.get("/statistics/panel/busy?span=28d").headers["HX-Push-Url"] == "/statistics/?span=28d"
    listed = [each for each in app.json("panels")["panels"] if each["name"] == "busy"]
    urls = {"url": "/statistics/panel/index/busy", "csv": "/statistics/export/busy.csv"}
    assert listed == [{"name": "busy", "title": "Busy paths", "page": "index", "cost": [], **urls}]


@pytest.mark.parametrize("url", ["requests", "panel/all", "export/all.csv"])
def test_panel_is_asked_for_span_and_filters(app: App, url: str) -> None:
    found: list[Any] = []

    @app.statistics.panel("all", page="requests")
    def everything(asked: PanelQuery) -> Iterator[Any]:
        found.append((asked.span.name, asked.filters.texts("path"), asked.summary().hits))
        found.append((len(asked.requests(limit=2).rows), sum(point.measures.hits for point in asked.series())))
        yield ("Nothing",)

    get(app, f"{url}?span=28d&path=/1")
    assert found == [("28d", ("/1",), 3), (2, 3)]


def test_panel_shows_what_it_yields(app: App) -> None:
    at = datetime(2026, 11, 1, 12, 30)
    values = ("a", None, 12345, 1234.5, Decimal("2.00"), True, at, date(2026, 11, 1), timedelta(seconds=90))
    declare(app, [f"column {n}" for n in range(len(values))], values)
    texts = ["a", "–", "12,345", "1,234.50", "2", "True", "2026-11-01 12:30", "2026-11-01", "1 min 30 s"]
    assert cells(get(app), "mine")[1] == texts
    file = get(app, "export/mine.csv").splitlines()[1]
    assert file == "a,,12345,1234.5,2.00,True,2026-11-01T12:30:00.000+00:00,2026-11-01,90.0"


def test_panel_file_keeps_numbers_numbers(app: App) -> None:
    there = datetime(2026, 11, 1, 12, 30, tzinfo=timezone(timedelta(hours=1)))
    declare(app, ("A",), (Decimal("-5.50"), -1.5, -3, timedelta(seconds=-90), there, "=1+1"))
    file = get(app, "export/mine.csv").splitlines()[1]
    assert file == "-5.50,-1.5,-3,-90.0,2026-11-01T11:30:00.000+00:00,'=1+1"
    assert cells(get(app), "mine")[1][4] == "2026-11-01 11:30"


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words for it")


@pytest.mark.parametrize("cell", [10**5000, Unspeakable()], ids=["digits", "words"])
def test_panel_file_of_what_has_no_text_is_refused_as_a_whole(app: App, cell: Any) -> None:
    declare(app, ("A",), ("first",), (cell,))
    response = app.client.get("/statistics/export/mine.csv")
    assert response.status_code == 500
    assert "first" not in response.text


def test_panels_declared_by_a_factory_are_the_same_for_each_app(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)

    def create(text: str) -> None:
        app.statistics.page("sales")

        @app.statistics.panel("orders", page="sales")
        def orders(_: PanelQuery) -> Iterator[Any]:
            yield ("Orders",)
            yield (text,)

    create("first")
    assert cells(get(app, "page/sales"), "orders")[1] == ["first"]
    create("second")  # though an app has handled a request
    assert cells(get(app, "page/sales"), "orders")[1] == ["second"]
    with pytest.raises(RuntimeError, match="comes too late"):
        app.statistics.panel("others")(lambda asked: iter(()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"title": 5}, "title of the panel 'x' is 5, but must be a text"),
        ({"template": 5}, "template of the panel 'x' is 5"),
    ],
)
def test_panel_refuses_what_is_no_text(app: App, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        app.statistics.panel("x", **options)(lambda asked: iter(()))


def test_panel_without_a_name_is_refused(app: App) -> None:
    with pytest.raises(SettingError, match=r'Write @statistics.panel\("name"\) above orders: a panel has a name.'):

        @app.statistics.panel  # type: ignore[arg-type]
        def orders(_: PanelQuery) -> Iterator[Any]:
            yield ("Orders",)


def test_a_panel_of_each_page_alone(app: App) -> None:
    for page in ("", "errors", "requests"):
        alone = get(app, f"panel/{page or 'index'}/series")
        assert alone in get(app, page)
    get(app, "panel/live/series", 404)
    assert get(app, "panel/browser?brwser=firefox", 400).startswith("'brwser' is no parameter")


@pytest.mark.parametrize(("width", "grid"), [("full", None), ("half", "panels two"), ("third", "panels")])
def test_panel_has_its_width(app: App, width: Any, grid: str | None) -> None:
    declare(app, ("A",), (1,), width=width, page="requests")
    before = get(app, "requests").partition('id="fs-p-mine"')[0]
    assert re.findall(r'<div class="(panels[^"]*)">', before) == ([grid] if grid else [])


def test_panel_of_a_template_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text(
        "<section>{{ panel.title }}: {{ panel.values[0][0] }} {{ request.path }}</section>"
    )
    (tmp_path / "broken.html").write_text("{{ panel.rows[99][99].x }}")
    app = Flask("tests.own", template_folder=str(tmp_path))
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", STATISTICS_DEFAULT_FILTERS="")
    db = SQLAlchemy(app)
    statistics = Statistics(app, db, whole_model(db))
    for name in ("mine", "broken", "nowhere"):
        statistics.panel(name, template=f"{name}.html")(lambda asked: [("A",), ("<b>",)])
    with app.app_context():
        db.create_all()
    client = app.test_client()
    client.get("/a")
    page = client.get("/statistics/").text
    assert "<section>Mine: &lt;b&gt; /statistics/</section>" in page
    for name in ("broken", "nowhere"):
        assert FAILED in section(page, name)
        assert FAILED in client.get(f"/statistics/panel/{name}").text


# ---- a panel that does not -------------------------------------------------------------------------------------------


def raising(asked: PanelQuery) -> Iterator[Any]:
    yield ("A",)
    yield (1 // 0,)


def refused(asked: PanelQuery) -> Iterator[Any]:
    asked.breakdown("nothing of that name")
    yield ("A",)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (raising, "ZeroDivisionError"),
        (refused, "KeyError"),
        (lambda asked: None, "TypeError: 'NoneType' object is not iterable"),
        (lambda asked: 1 // 0, "ZeroDivisionError"),
        (lambda: [("A",)], "TypeError"),
        (lambda asked: ["text"], "TypeError: it yields 'text', but must yield rows: tuples or lists of cells"),
        (lambda asked: [("A",), 7], "TypeError: 'int' object is not iterable"),
    ],
)
def test_panel_that_fails_costs_itself(app: App, caplog: pytest.LogCaptureFixture, function: Any, cause: str) -> None:
    app.statistics.panel("mine")(function)
    declare(app, ("A",), (1,), name="other")
    page = get(app)
    assert page.count(FAILED) == 1
    assert FAILED in section(page, "mine")
    assert cells(page, "other") == [["A"], ["1"]]
    assert FAILED in get(app, "panel/mine")
    assert "The panel &#39;mine&#39; failed. The app&#39;s log says how." in get(app, "export/mine.csv", 500)
    assert f"Flask-Statistics: mine could not be computed: {cause}" in caplog.text


def test_panel_that_breaks_the_hosts_transaction_costs_itself(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ENABLED=False)
    app.insert({"date": NOW, "path": "/a"})

    @app.statistics.panel("broken")
    def broken(asked: PanelQuery) -> Iterator[Any]:
        yield ("A",)
        app.db.session.execute(sa.text("SELECT * FROM nowhere"))

    @app.statistics.panel("sound")
    def sound(asked: PanelQuery) -> Iterator[Any]:
        yield ("Rows",)
        yield (app.db.session.scalar(sa.select(sa.func.count()).select_from(app.Request)),)

    page = get(app)
    assert FAILED in section(page, "broken")
    assert cells(page, "sound") == [["Rows"], ["1"]]
    assert FAILED in get(app, "panel/broken")


def test_panels_wait_for_a_lock_once(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert({"date": NOW, "path": "/a"})
    locked = sa.create_engine(f"sqlite:///{tmp_path / 'locked.sqlite'}", connect_args={"timeout": 0.2})
    asked_for: list[str] = []
    for name in ("one", "two"):

        @app.statistics.panel(name)
        def write(asked: PanelQuery) -> Iterator[Any]:
            asked_for.append("locked")
            with locked.begin() as connection:
                connection.execute(sa.text("CREATE TABLE a (b)"))
            yield ("A",)

    with locked.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        page = get(app)
    locked.dispose()
    assert FAILED in section(page, "one")
    assert FAILED in section(page, "two")
    assert asked_for == ["locked"]


def test_panel_that_yields_nothing(app: App) -> None:
    declare(app)
    declare(app, ("A", "B"), name="headed")
    page = get(app)
    for name in ("mine", "headed"):
        assert "Nothing in this span." in section(page, name)
    assert get(app, "export/mine.csv") == ""
    assert get(app, "export/headed.csv") == "A,B\r\n"


def test_panel_of_rows_of_different_lengths(app: App) -> None:
    declare(app, ("A", "B"), (1,), (1, 2, 3), ())
    assert cells(get(app), "mine") == [["A", "B", ""], ["1", "", ""], ["1", "2", "3"], ["", "", ""]]
    assert get(app, "export/mine.csv").split("\r\n") == ["A,B", "1", "1,2,3", "", ""]


def test_panel_of_many_rows_is_cut_and_its_file_is_not(app: App) -> None:
    taken: list[int] = []
    ended: list[bool] = []

    @app.statistics.panel("many")
    def many(asked: PanelQuery) -> Iterator[Any]:
        try:
            yield ("Number",)
            for number in range(100_000):
                taken.append(number)
                yield [number] * 100
        finally:
            ended.append(True)

    page = get(app)
    assert "These are the first 50 rows. The file has all of them." in section(page, "many")
    assert [len(row) for row in cells(page, "many")] == [50] * 51
    assert (len(taken), ended) == (51, [True])
    assert len(get(app, "export/many.csv").splitlines()) == 100_001


def test_panel_of_hostile_texts(app: App) -> None:
    class Hostile:
        def __str__(self) -> str:
            return MARKUP[0] * 10_000

    declare(app, MARKUP, MARKUP, (Hostile(), *MARKUP), title=MARKUP[0])
    page = get(app)
    check_markup(page)
    assert len(section(page, "mine")) < 30_000
    assert cells(page, "mine")[1][0] == MARKUP[0]
    assert "'=HYPERLINK" in get(app, "export/mine.csv")


def test_panel_that_is_slow_gives_no_advice_on_the_statistics(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    for module in ("views", "pages.page"):
        monkeypatch.setattr(f"flask_statistics.{module}.time", SimpleNamespace(perf_counter=lambda: sum(clock)))

    @app.statistics.panel("slow")
    def slow(asked: PanelQuery) -> Iterator[Any]:
        clock.append(100.0)
        yield ("A",)

    page = get(app)
    assert sum(clock) == 100
    assert "A page took" not in page


def test_panel_of_an_app_without_requests_is_not_asked(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.statistics.panel("mine")(raising)
    assert FAILED not in get(app)


def test_panel_is_behind_the_guard(make_app: MakeApp) -> None:
    app = make_app(before_f=lambda: False)
    app.statistics.page("sales")
    app.statistics.panel("mine", page="sales")(raising)
    for url in ("page/sales", "panel/mine", "export/mine.csv", "api/panels"):
        get(app, url, 403)


# ---- pages -----------------------------------------------------------------------------------------------------------


def test_page_of_ones_own_has_a_tab_and_its_panels(app: App) -> None:
    app.statistics.page("sales", title="What sells")
    declare(app, ("A",), (1,), page="sales")
    page = get(app, "page/sales?span=28d")
    assert cells(page, "mine") == [["A"], ["1"]]
    assert '<a href="/statistics/page/sales?span=28d" aria-current="page">What sells</a>' in page
    assert '<a href="/statistics/export/mine.csv?span=28d" download>Download CSV</a>' in page
    assert '<a href="/statistics/page/sales">What sells</a>' in get(app, "errors")
    assert app.client.get("/statistics/panel/mine").headers["HX-Push-Url"] == "/statistics/page/sales"
    assert app.client.get("/statistics/page/sales?q=&span=28d").location == "/statistics/page/sales?span=28d"
    check_markup(page)


def test_page_that_nobody_declared(app: App) -> None:
    get(app, "page/sales", 404)
    assert "nothing=" not in get(app, "page/sales", 404)


# ---- declaring -------------------------------------------------------------------------------------------------------


def test_panels_are_declared_before_init_app_and_for_each_app(tmp_path: Path) -> None:
    statistics = Statistics()
    statistics.panel("mine")(lambda asked: [("A",), (asked.summary().hits,)])
    alone = Statistics()
    counts = []
    for number, used in enumerate((statistics, statistics, alone)):
        app = Flask(f"tests.own{number}")
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / str(number)}"
        app.config["STATISTICS_DEFAULT_FILTERS"] = ""
        db = SQLAlchemy(app)
        used.init_app(app, db, whole_model(db))
        with app.app_context():
            db.create_all()
        client = app.test_client()
        for _ in range(number + 1):
            client.get("/")
        counts.append(client.get("/statistics/panel/mine").text)
        with app.app_context():
            db.engine.dispose()
    assert [re.findall(r'<th scope="row">(.*?)</th>', text) for text in counts] == [["1"], ["2"], []]


@pytest.mark.parametrize("name", ["My panel", "", "1st", "a/b", "Ä", None])
def test_panel_refuses_a_name(make_app: MakeApp, name: Any) -> None:
    with pytest.raises(SettingError) as caught:
        make_app().statistics.panel(name)(raising)
    text = f"The panel's name is {name!r}, but must be lower-case letters, digits, _ and -."
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["series", "links", "browser", "path", "mine"])
def test_panel_refuses_a_name_that_is_taken(make_app: MakeApp, name: str) -> None:
    app = make_app()
    declare(app)
    with pytest.raises(SettingError, match=rf"^There is a panel '{name}' already; give yours another name\.$"):
        app.statistics.panel(name)(raising)


def test_dimension_and_panel_of_one_name_are_refused_in_either_order(make_app: MakeApp) -> None:
    app = make_app(dimensions=[Dimension("tenant", column="path")])
    with pytest.raises(SettingError, match=r"^There is a panel 'tenant' already"):
        declare(app, name="tenant")
    statistics, host, db = Statistics(), Flask("tests.own"), SQLAlchemy()
    statistics.panel("browser")(raising)
    with pytest.raises(SettingError, match=r"^There is a panel 'browser' already"):
        statistics.init_app(host, db, whole_model(db))
    assert "statistics" not in host.extensions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"page": "sales"},
            "page of the panel 'mine' is 'sales', but must be one of index, changes, errors, requests, clients, database.",
        ),
        ({"width": "wide"}, "width of the panel 'mine' is 'wide', but must be one of full, half, third."),
    ],
)
def test_panel_refuses_an_argument(make_app: MakeApp, options: Any, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        declare(make_app(), **options)
    assert str(caught.value) == message


def test_panel_refuses_what_is_no_function(make_app: MakeApp) -> None:
    async def later(asked: PanelQuery) -> Any: ...

    functions: list[Any] = ["text", later]
    for function in functions:
        with pytest.raises(SettingError, match=r"^The panel 'mine' is .*, but must be a function that yields rows\.$"):
            make_app().statistics.panel("mine")(function)


@pytest.mark.parametrize("name", ["index", "live", "health", "sales"])
def test_page_refuses_a_name_that_is_taken(make_app: MakeApp, name: str) -> None:
    statistics = make_app().statistics
    statistics.page("sales")
    with pytest.raises(SettingError, match=rf"^There is a page '{name}' already; give yours another name\.$"):
        statistics.page(name, title="Another")


def test_panel_comes_before_the_first_request(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/")
    late = r"comes too late: the app 'tests.app' has handled its first request\. Declare it where the app is made\.$"
    with pytest.raises(RuntimeError, match=rf"^The panel 'mine' {late}"):
        declare(app)
    with pytest.raises(RuntimeError, match=rf"^The page 'sales' {late}"):
        app.statistics.page("sales")
