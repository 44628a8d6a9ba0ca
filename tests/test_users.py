"""Who asks: by a function and by Flask-Login, without a change of the host's answers or statements; hashed; and failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import flask_login
import pytest
import sqlalchemy as sa
from flask import Flask, g

from flask_statistics import SettingError

from .conftest import App, result_of

MakeApp = Callable[..., App]
UUID_OF_ADA = UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    ("user", "stored"),
    [
        ("ada", "ada"),
        (7, "7"),
        (UUID_OF_ADA, str(UUID_OF_ADA)),
        (None, None),
        ("", None),
        (0, "0"),
        ("x" * 300, "x" * 255),
    ],
)
def test_user_of_a_function(make_app: MakeApp, user: Any, stored: str | None) -> None:
    app = make_app(STATISTICS_USER=lambda: user)
    app.client.get("/")
    assert app.row().user == stored


def test_user_is_asked_while_the_request_lasts(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_USER=lambda: g.get("user"), before=lambda flask: flask.before_request(remember))
    app.client.get("/")
    assert app.row().user == "grace"


def remember() -> None:
    g.user = "grace"


@pytest.mark.parametrize("user", [1 / 3, True, object(), b"ada"])
def test_what_is_no_user_is_null_and_logged_once(
    make_app: MakeApp, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(STATISTICS_USER=lambda: user)
    assert [app.client.get("/").status_code for _ in range(3)] == [404] * 3
    assert [row.user for row in app.rows()] == [None] * 3
    assert caplog.text.count("the function that fills 'user' failed, so it is NULL. This is logged once.") == 1


def test_function_that_fails_costs_no_request(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(STATISTICS_USER=lambda: str(1 // 0))
    app.client.get("/")
    app.client.get("/")
    assert [row.user for row in app.rows()] == [None, None]
    assert caplog.text.count("ZeroDivisionError: ") == 1


def test_function_may_be_a_coroutine(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flask, "async_to_sync", lambda _, function: lambda: result_of(function()))

    async def user() -> str:
        return "ada"

    app = make_app(STATISTICS_USER=user)
    app.client.get("/")
    assert app.row().user == "ada"


# ---- hashed ------------------------------------------------------------------------------------------------------


def hashes(make_app: MakeApp, secret: Any, *users: Any) -> list[str | None]:
    given = iter(users)
    app = make_app(STATISTICS_USER=lambda: next(given), STATISTICS_USER_HASHED=True, SECRET_KEY=secret)
    for _ in users:
        app.client.get("/")
    return [row.user for row in app.rows()]


def test_hashed_user_has_no_name(make_app: MakeApp) -> None:
    ada, grace, again, nobody = hashes(make_app, "secret", "ada", "grace", "ada", None)
    assert (ada == again, ada == grace, nobody) == (True, False, None)
    assert ada is not None
    assert len(ada) == 16
    int(ada, 16)
    assert hashes(make_app, b"secret", "ada") == [ada]
    assert hashes(make_app, "other", "ada") != [ada]


def test_hash_needs_a_secret(make_app: MakeApp) -> None:
    with pytest.raises(SettingError, match=r"^STATISTICS_USER_HASHED is True, but the app has no SECRET_KEY"):
        make_app(STATISTICS_USER="flask-login", STATISTICS_USER_HASHED=True)


@pytest.mark.parametrize("value", ["ada", 7, ""])
def test_user_refuses(make_app: MakeApp, value: Any) -> None:
    with pytest.raises(SettingError, match=r'must be None, "flask-login" or a function without arguments'):
        make_app(STATISTICS_USER=value)


# ---- Flask-Login -------------------------------------------------------------------------------------------------


class User(flask_login.UserMixin):  # type: ignore[misc]
    def __init__(self, number: str) -> None:
        self.id = number


def with_login(loaded: list[str]) -> Callable[[Flask], None]:
    def load(number: str) -> User:
        loaded.append(number)
        return User(number)

    def before(flask: Flask) -> None:
        manager = flask_login.LoginManager(flask)
        manager.user_loader(load)
        flask.add_url_rule("/plain", "plain", lambda: "plain")
        flask.add_url_rule("/login", "login", lambda: str(flask_login.login_user(User("7"))))
        flask.add_url_rule("/logout", "logout", lambda: str(flask_login.logout_user()))
        flask.add_url_rule("/mine", "mine", flask_login.login_required(lambda: "mine"))
        flask.add_url_rule("/open", "open", lambda: str(1 // 0))
        flask.add_url_rule("/broken", "broken", flask_login.login_required(lambda: str(1 // 0)))

    return before


def test_user_of_flask_login(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_USER="flask-login", SECRET_KEY="x", before=with_login([]))
    for path in ("mine", "login", "mine", "broken", "logout", "mine"):
        app.client.get(f"/{path}")
    stored = [(row.path, row.status_code, row.user) for row in app.rows()]
    assert stored == [
        ("/mine", 401, None),
        ("/login", 200, "7"),
        ("/mine", 200, "7"),
        ("/broken", 500, "7"),
        ("/logout", 200, None),
        ("/mine", 401, None),
    ]


def test_nobody_is_loaded_and_no_session_is_read(make_app: MakeApp) -> None:
    loaded: list[str] = []
    app = make_app(STATISTICS_USER="flask-login", SECRET_KEY="x", before=with_login(loaded))
    without = make_app(SECRET_KEY="x", before=with_login([]))
    # Flask-Login's own hook reads the session at the end of each request
    for one in (app, without):
        one.flask.after_request_funcs.clear()
        one.client.get("/login")
    loaded.clear()
    for path in ("/plain", "/nowhere", "/open"):
        answers = [one.client.get(path) for one in (app, without)]
        assert [answer.headers.getlist("Vary") for answer in answers] == [[], []]
    assert loaded == []
    assert [row.user for row in app.rows()] == ["7", None, None, None]


def test_app_without_flask_login_has_no_user(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_USER="flask-login")
    app.client.get("/")
    assert app.row().user is None


@pytest.mark.parametrize(("own_id", "stored"), [(False, "1"), (True, None)])
def test_no_statement_after_a_commit_of_the_host(make_app: MakeApp, own_id: bool, stored: str | None) -> None:
    app = make_app(STATISTICS_USER="flask-login", SECRET_KEY="x")
    get_id = {"get_id": lambda self: f"user-{self.id}"} if own_id else {}
    db = app.db
    columns = {"id": db.Column(db.Integer, primary_key=True), "__tablename__": "account"}
    account: Any = type("Account", (flask_login.UserMixin, db.Model), columns | get_id)
    flask_login.LoginManager(app.flask).request_loader(lambda request: db.session.get(account, 1))
    issued: list[str] = []

    @app.flask.get("/buy")
    @flask_login.login_required  # type: ignore[untyped-decorator, unused-ignore]
    def buy() -> str:
        db.session.commit()
        issued.clear()
        return "bought"

    with app.flask.app_context():
        db.create_all()
        db.session.add(account(id=1))
        db.session.commit()
        sa.event.listen(db.engine, "before_cursor_execute", lambda *given: issued.append(given[2]))
    assert app.client.get("/buy").text == "bought"
    assert not [statement for statement in issued if "account" in statement]
    assert app.row().user == stored
