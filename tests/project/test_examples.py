"""Every example of the documentation runs: Python, commands, questions to the API, and what they are said to answer."""

from __future__ import annotations

import bz2
import gzip
import inspect
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request as Asked

import flask_login
import pytest
from blinker import NamedSignal
from flask import Flask, g, request
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import generate_password_hash

import flask_statistics
from flask_statistics.config import PREFIX, SETTINGS
from flask_statistics.guards import token

from ..conftest import App
from ..documentation import PAGES, ROOT, Block, blocks, example

MakeApp = Callable[..., App]
TOKEN = "a-token-of-43-characters-as-secrets-make-it"
SIGNALS: list[NamedSignal] = [
    flask_statistics.request_recording,
    flask_statistics.requests_lost,
    flask_statistics.requests_stored,
    flask_statistics.rollups_updated,
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the examples read from the environment, and a folder that they may write to."""
    monkeypatch.setenv("DASHBOARD_PASSWORD_HASH", generate_password_hash("secret", "pbkdf2:sha256:1"))
    monkeypatch.setenv("DASHBOARD_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs Python of a page with `app`, `db` and `Request`, and with `statistics` where it does not make one itself."""
    made: list[tuple[dict[str, Any], SQLAlchemy]] = []

    def start(text: str, **config: Any) -> dict[str, Any]:
        app = Flask("tests.examples", instance_path=str(tmp_path))
        app.secret_key = "secret"
        app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///app.sqlite", TESTING=True, **config)
        db = SQLAlchemy(app)
        names: dict[str, Any] = {
            **vars(flask_statistics),
            "app": app,
            "db": db,
            "stream": io.StringIO(),
            "__name__": "example",
        }
        if "class Request(" not in text:
            names["Request"] = type("Request", (flask_statistics.RequestMixin, db.Model), {})
        if "Statistics(" not in text:
            names["statistics"] = flask_statistics.Statistics(app, db, names["Request"])
            with app.app_context():
                db.create_all()
        made.append((names, db))
        exec(compile(text, "example", "exec"), names)
        with app.app_context():
            db.create_all()
        return names

    yield start
    for names, db in made:
        functions = [value for value in names.values() if inspect.isfunction(value)]
        for signal in [*SIGNALS, *(value for value in names.values() if isinstance(value, NamedSignal))]:
            for function in functions:
                signal.disconnect(function)
        with names["app"].app_context():
            db.engine.dispose()


PYTHON = [block for block in blocks(language="python") if block.kind != "example" and "app = Flask(" not in block.text]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs_and_requests_are_recorded(block: Block, run: Callable[..., dict[str, Any]]) -> None:
    client = run(block.text)["app"].test_client()
    assert client.get("/").status_code in (
        404,
        500,
    )  # there is no such page; an error handler of an example answers 500
    answer = client.get("/statistics/api/health")
    assert answer.status_code in (200, 302, 401, 403)
    assert answer.status_code != 200 or answer.json["lost"] == 0


def test_examples_that_have_a_name_are_run_below() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [block for block in blocks(kind="example") if f'example("{block.name}")' not in source] == []


def test_factory(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(example("factory"), names)
    apps = [names["create_app"](SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / name}") for name in ("one", "two")]
    for app in apps:
        with app.app_context():
            names["db"].create_all()
        client = app.test_client()
        client.get("/some/page")
        assert client.get("/statistics/api/summary").json["hits"] == 1
        stranger = {"REMOTE_ADDR": "203.0.113.9"}
        assert client.get("/statistics/", environ_overrides=stranger).status_code == 401
        assert client.get("/statistics/", environ_overrides=stranger, auth=("admin", "secret")).status_code == 200
        with app.app_context():
            names["db"].engine.dispose()


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_dimension(run: Callable[..., dict[str, Any]], tmp_path: Path, writer: str) -> None:
    names = run(example("dimension"), STATISTICS_WRITER=writer, STATISTICS_SPOOL_PATH=tmp_path / "spool")
    app = names["app"]
    app.before_request(lambda: setattr(g, "tenant", request.args["t"]) if "t" in request.args else None)
    client = app.test_client()
    for url in ("/?t=acme", "/?t=acme", "/"):
        client.get(url)
    rows = client.get("/statistics/api/breakdown/tenant").json["rows"]
    assert [(row["value"], row["hits"]) for row in rows] == [("acme", 2), (None, 1)]


def test_derived_dimension(run: Callable[..., dict[str, Any]]) -> None:
    client = run(example("derived"))["app"].test_client()
    for url in ("/v1/a", "/v2/a", "/v2/b", "/"):
        client.get(url)
    rows = client.get("/statistics/api/breakdown/api_version").json["rows"]
    assert {row["value"]: row["hits"] for row in rows} == {"v2": 2, "v1": 1, None: 1}


ORDER = """
class Order(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    date = db.Column(db.DateTime, default=db.func.now())

"""


@pytest.mark.parametrize("rollups", [False, True])
def test_panel(run: Callable[..., dict[str, Any]], rollups: bool) -> None:
    names = run(ORDER + example("panel"), STATISTICS_ROLLUPS=rollups)
    app, db = names["app"], names["db"]
    client = app.test_client()
    client.get("/", headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"})
    with app.app_context():
        db.session.add_all([names["Order"](), names["Order"]()])
        db.session.commit()
    if rollups:
        assert app.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    page, panel = client.get("/statistics/page/sales").text, client.get("/statistics/panel/orders").text
    assert panel in page
    rows = re.findall(r'<tr><th scope="row">([-\d]+) 00:00</th><td class="n">(\d+)</td><td class="n">(\d+)</td>', panel)
    file = client.get("/statistics/export/orders.csv").text.splitlines()
    assert file[0] == "Day,Visitors,Orders"
    assert [row[1:] for row in rows] == [tuple(line.split(",")[1:]) for line in file[1:]]
    assert rows[-1][1:] == ("1", "2")


def test_signals(run: Callable[..., dict[str, Any]]) -> None:
    client = run(example("signals"))["app"].test_client()
    for url in ("/internal/a", "/user/5", "/b"):
        client.get(url)
    rows = client.get("/statistics/api/breakdown/path").json["rows"]
    assert {row["value"]: row["hits"] for row in rows} == {"/user/*": 1, "/b": 1}


def test_writer(run: Callable[..., dict[str, Any]]) -> None:
    names = run(example("writer"))
    client = names["app"].test_client()
    client.get("/a")
    (line,) = names["stream"].getvalue().splitlines()
    assert (json.loads(line)["path"], json.loads(line)["status_code"]) == ("/a", 404)
    assert client.get("/statistics/api/summary").json["hits"] == 0


def test_token(run: Callable[..., dict[str, Any]]) -> None:
    client = run(example("token"))["app"].test_client()
    assert client.get("/statistics/api/summary").status_code in (401, 403)
    assert client.get("/statistics/api/summary", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_guard(run: Callable[..., dict[str, Any]]) -> None:
    client = run(example("guard"))["app"].test_client()
    assert client.get("/statistics/").location == "/login"
    with client.session_transaction() as session:
        session["role"] = "admin"
    assert client.get("/statistics/").status_code == 200


@pytest.mark.parametrize(("user", "status"), [("ada", 200), ("bob", 403), (None, 401)])
def test_login(run: Callable[..., dict[str, Any]], user: str | None, status: int) -> None:
    app = run(example("login"))["app"]
    manager = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.id, self.is_admin = name, name == "ada"

    manager.user_loader(User)
    client = app.test_client()
    if user is not None:
        with client.session_transaction() as session:
            session["_user_id"] = user
    assert client.get("/statistics/api/summary").status_code == status
    assert client.get("/statistics/api/summary", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_script(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app(before_f=token(TOKEN))

    def urlopen(asked: Asked, timeout: float) -> io.BytesIO:
        parts = urlsplit(asked.full_url)
        answer = app.client.get(f"{parts.path}?{parts.query}", headers=dict(asked.header_items()))
        assert answer.status_code == 200
        return io.BytesIO(answer.data)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    app.insert(*({"date": datetime(2026, 11, 18), "route": "/slow", "response_time": 2.0} for _ in range(20)))
    app.insert({"date": datetime(2026, 11, 18), "route": "/once", "response_time": 9.0})
    exec(example("script"), {})
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"/slow: (1\.9|2\.0)\d+ s of 20 hits", line)


def test_fixture(make_app: MakeApp) -> None:
    from flask_statistics.testing import recording

    app = make_app()
    names: dict[str, Any] = {}
    exec(example("fixture"), names)
    app.flask.add_url_rule("/", "home", lambda: "Hello!")
    with recording(app.flask) as statistics:
        names["test_home"](app.flask, statistics)


def test_clickhouse_example_is_a_model_that_we_take() -> None:
    pytest.importorskip("clickhouse_connect", reason="the extra dev-clickhouse is not installed")
    compile(example("clickhouse"), "example", "exec")


# Commands

COMMAND = re.compile(r"(?:(?P<before>zcat \S+) \| )?(?P<command>flask statistics [a-z][^#\n]*)")
SAMPLES = {"ADDRESS": "203.0.113.9", "FILE": "access.log", "DAY": "2026-11-02", "N": "30", "D": "2", "S": "1"}


def commands_of(page: Path) -> list[tuple[str, str]]:
    """What is piped in, and the arguments of each command, in the page's order; what is in brackets too."""
    text = re.sub(
        r"`(flask\s+statistics[^`]*)`", lambda match: f"\n{' '.join(match[1].split())}\n", page.read_text("utf-8")
    )
    found = [(match["before"] or "", match["command"].strip()) for match in COMMAND.finditer(text)]
    return list(dict.fromkeys(found))


def arguments_of(command: str) -> list[str]:
    words = shlex.split(re.split(r" >/| \|\|", command)[0].rstrip('",'))[2:]
    plain = [word if " " in word else word.strip("[]").removesuffix("...") for word in words]
    few = [{"60000": "300", "3000": "300"}.get(word, word) for word in plain]
    return [SAMPLES.get(word, word) for word in few]


COMBINED = '203.0.113.9 - - [01/Nov/2026:10:00:{:02} +0000] "GET /a HTTP/1.1" 200 512 "-" "Mozilla/5.0"\n'


@pytest.fixture
def logs(tmp_path: Path) -> None:
    """The access logs that the pages name."""
    (tmp_path / "access.log").write_text(COMBINED.format(1))
    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(COMBINED.format(2).encode()))
    (tmp_path / "access.log.2.gz").write_bytes(gzip.compress(COMBINED.format(3).encode()))
    (tmp_path / "backup.gz").write_bytes(gzip.compress(COMBINED.format(4).encode()))
    (tmp_path / "nginx.log").write_text('203.0.113.9 [01/Nov/2026:10:00:05 +0000] "GET /a HTTP/1.1" 200 512 0.042\n')
    (tmp_path / "apache.log").write_text(COMBINED.format(6).rstrip() + " 42000\n")
    words = {"when": "2026-11-01T10:00:07+00:00", "who": "203.0.113.9", "line": "GET /a HTTP/1.1", "code": "200"}
    (tmp_path / "app.json").write_text(json.dumps(words) + "\n")
    (tmp_path / "access.log.bz2").write_bytes(bz2.compress(COMBINED.format(8).encode()))


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.name)
@pytest.mark.usefixtures("logs")
def test_commands_run(page: Path, make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(
        STATISTICS_ROLLUPS=True,
        STATISTICS_SCHEDULER=False,
        STATISTICS_WRITER="spool",
        STATISTICS_SPOOL_PATH=tmp_path / "spool",
    )
    runner = app.flask.test_cli_runner()
    for before, command in commands_of(page):
        given = gzip.decompress(Path(before.split()[1]).read_bytes()) if before else b"y\ny\n"
        arguments = arguments_of(command)
        if arguments[0] == "COMMAND":
            arguments[0] = "init"
        found = runner.invoke(args=["statistics", *arguments], input=given)
        assert found.exception is None or isinstance(found.exception, SystemExit), (command, found.exception)
        assert found.exit_code in (0, 1) or "Missing argument" in found.output, (command, found.output)


@pytest.mark.usefixtures("logs")
def test_imports_of_the_page_take_each_request(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    given = [pair for pair in commands_of(ROOT / "docs" / "import.md") if " import-log " in pair[1]]
    for before, command in given:
        piped = gzip.decompress(Path(before.split()[1]).read_bytes()) if before else None
        found = app.flask.test_cli_runner().invoke(args=["statistics", *arguments_of(command)], input=piped)
        assert found.exit_code == 0, found.output
    assert sorted(row.date.second for row in app.rows()) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("block", blocks(kind="output"), ids=str)
def test_outputs_are_what_commands_say(block: Block, tmp_path: Path) -> None:
    app = Flask("tests.examples", instance_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///app.sqlite"
    db = SQLAlchemy(app)
    flask_statistics.Statistics(app, db, type("Request", (flask_statistics.RequestMixin, db.Model), {}))
    runner = app.test_cli_runner()
    for command in dict.fromkeys(["init", block.name]):
        found = runner.invoke(args=["statistics", *shlex.split(command)])
    assert found.stdout == block.text
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("block", blocks(kind="names"), ids=str)
def test_outputs_have_the_names_of_today(block: Block, make_app: MakeApp) -> None:
    runner = make_app(STATISTICS_ROLLUPS="Rolled up" in block.text, STATISTICS_SCHEDULER=False).flask.test_cli_runner()
    runner.invoke(args=["statistics", "demo-data", "--requests", "300", "--days", "20"])
    runner.invoke(args=["statistics", "rollup"])
    found = runner.invoke(args=["statistics", block.name])
    said = {line[:18].strip() for line in found.stdout.splitlines()}
    assert {line[:18].strip() for line in block.text.splitlines()} <= said


# The API


def shape(answer: Any) -> Any:
    """The names of an answer, and of the first item of each list."""
    if isinstance(answer, dict):
        return {name: shape(value) for name, value in answer.items()}
    return [shape(answer[0])] if isinstance(answer, list) else None


@pytest.mark.parametrize("block", blocks(kind="answer"), ids=str)
def test_answers_have_these_names(block: Block, make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/")
    assert shape(app.json(block.name)) == shape(json.loads(block.text))


def test_curl_is_answered(make_app: MakeApp) -> None:
    app = make_app()
    urls = [url for page in PAGES for url in re.findall(r"curl '([^']+)'", page.read_text("utf-8"))]
    assert urls
    for url in urls:
        parts = urlsplit(url)
        assert app.client.get(f"{parts.path}?{parts.query}").status_code == 200


# What cannot be run


def test_container_gives_settings_that_are_taken(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (block,) = blocks(language="dockerfile")
    (given,) = re.findall(r"^ENV (.*)", block.text, re.MULTILINE)
    for pair in given.split():
        name, _, value = pair.partition("=")
        monkeypatch.setenv(name, value.replace("/var/lib/my-app", str(tmp_path)))
    app = Flask("tests.examples")
    app.config.from_prefixed_env()
    found = make_app(**{name: value for name, value in app.config.items() if name.startswith(PREFIX)})
    found.client.get("/")
    assert len(found.rows()) == 1
    assert list((tmp_path / "spool").iterdir()) != []


def test_settings_that_are_named_exist() -> None:
    known = {f"{PREFIX}{setting.key}" for setting in SETTINGS}
    for page in PAGES:
        named = set(re.findall(rf"(?<![A-Z])(?:FLASK_)?({PREFIX}[A-Z_]*[A-Z])", page.read_text("utf-8")))
        assert named <= known, page


def test_extras_that_are_named_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for page in PAGES:
        for names in re.findall(r"pip install [^`\n]*\[([\w,-]+)\]", page.read_text("utf-8")):
            assert [name for name in names.split(",") if f"\n{name} = [" not in project] == [], page


def test_benchmarks_that_are_named_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"python -m\s+benchmarks\.(\w+)|`benchmarks/(\w+)\.py", page.read_text("utf-8")):
            assert (ROOT / "benchmarks" / f"{''.join(name)}.py").exists(), page


def test_languages_are_known() -> None:
    run_here = {"python", "console", "json", "sql"}
    named_only = {"", "text", "nginx", "dockerfile", "crontab"}
    assert {block.language for block in blocks()} <= run_here | named_only
