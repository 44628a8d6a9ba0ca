"""Statements without literals: one for all of a kind, and no secret in it, whatever an app wrote into its SQL."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.timing.fingerprint import LONGEST, fingerprint, not_understood, rules_of, without_literals

DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb", "oracle")


@pytest.mark.parametrize(
    ("dialect", "statement", "expected"),
    [
        ("sqlite", 'SELECT "user".id AS user_id FROM "user" WHERE "user".id = ?', None),
        ("sqlite", "SELECT a FROM t  WHERE b = 5 AND\n c = 'x''y' -- why\nOR d", "SELECT a FROM t WHERE b = ? AND c = ? OR d"),
        ("sqlite", "SELECT a FROM t WHERE b IN (?, ?, ?) AND c in (1,2)", "SELECT a FROM t WHERE b IN (?) AND c in (?)"),
        ("sqlite", "INSERT INTO t (a, b) VALUES (?, ?), (?, ?), (1, 'x')", "INSERT INTO t (a, b) VALUES (?, ?)"),
        ("sqlite", "(SELECT 1) UNION (SELECT 0x1F, 1.5e-3, .5, 1_000)", "(SELECT ?) UNION (SELECT ?, ?, ?, ?)"),
        ("sqlite", "SELECT t1.a FROM t1 WHERE x = :y", "SELECT t1.a FROM t1 WHERE x = ?"),
        ("sqlite", 'SELECT a FROM t WHERE b = "text"', "SELECT a FROM t WHERE b = ?"),
        ("sqlite", "SELECT `a` FROM t /* text 'x */ WHERE b = DATE'2020-01-01'", "SELECT `a` FROM t WHERE b = ?"),
        ("postgresql", 'SELECT "a" FROM t WHERE b = %(b_1)s::VARCHAR', 'SELECT "a" FROM t WHERE b = ?::VARCHAR'),
        ("postgresql", "SELECT a FROM t WHERE b IN (%(x)s::INTEGER, %(y)s::INTEGER)", "SELECT a FROM t WHERE b IN (?::INTEGER)"),
        ("postgresql", r"SELECT E'it\'s', $1, $$a 'b$$, $x$ $$ $x$, c[1], d #>> '{e}'", "SELECT ?, ?, ?, ?, c[?], d #>> ?"),
        ("mysql", "SELECT `a` WHERE b = \"text\" AND c = %s # 'x\nAND d = 5--3", "SELECT `a` WHERE b = ? AND c = ? AND d = ?--?"),
        ("mysql", r"SELECT 'a\\' FROM t", "SELECT ? FROM t"),
    ],
)  # fmt: skip
def test_without_literals(dialect: str, statement: str, expected: str | None) -> None:
    assert without_literals(statement, rules_of(dialect)) == (statement if expected is None else expected)


@pytest.mark.parametrize(
    ("dialect", "statement", "command"),
    [
        ("sqlite", r"SELECT * FROM t WHERE a = 'x\' AND b = 'secret'", "SELECT"),
        ("mysql", r"SELECT * FROM t WHERE a = 'x\' AND b = 'secret'", "SELECT"),
        ("sqlite", "SELECT [it's] FROM t WHERE a = 'secret'", "SELECT"),
        ("sqlite", "SELECT `it's` FROM t WHERE a = 'secret'", "SELECT"),
        ("oracle", "SELECT q'[it's a]' FROM t WHERE a = 'secret'", "SELECT"),
        ("sqlite", "SELECT $$ it's $$ FROM t WHERE a = 'secret'", "SELECT"),
        ("postgresql", "SELECT 1 /* /* */ ' */, 'secret'", "SELECT"),
        ("mysql", "SELECT 1 /*!50000 , 'a*/' , 'secret' */", "SELECT"),
        ("postgresql", "SELECT 1 -- it's\r, 'secret'", "SELECT"),
        ("sqlite", "SELECT 'secret", "SELECT"),
        ("sqlite", "SELECT 'a''secret", "SELECT"),
        ("sqlite", "SELECT 1 /* secret", "SELECT"),
        ("sqlite", "SELECT 1\0 secret", "SELECT"),
        ("sqlite", "PRAGMA key = secret", "PRAGMA"),
        ("postgresql", "SET app.token = secret", "SET"),
        ("postgresql", "SAVEPOINT secret", "SAVEPOINT"),
        ("sqlite", "secret", "SQL"),
        ("sqlite", "", "SQL"),
        ("sqlite", "SELECT " + "secret, " * 10_000 + "1", "SELECT"),
    ],
)
def test_what_is_not_understood_keeps_its_command(dialect: str, statement: str, command: str) -> None:
    assert without_literals(statement, rules_of(dialect)) == f"{command} (not understood)"


TEXTS = st.text(alphabet=st.sampled_from("secret'\"\\`$;-#/*[]%(: \n\r\0é0"), max_size=30)


@given(TEXTS, st.sampled_from(DIALECTS))
def test_a_quoted_value_is_never_kept(value: str, dialect: str) -> None:
    marked = f"S3CR3T{value}S3CR3T"
    doubled = marked.replace("'", "''")
    escaped = marked.replace("\\", "\\\\").replace("'", "\\'")
    written = escaped if dialect in ("mysql", "mariadb") else doubled
    for statement in (
        f"SELECT a FROM t WHERE b = '{written}' AND c = 1",
        f"INSERT INTO t VALUES ('{written}', '{written}')",
    ):
        assert "S3CR3T" not in without_literals(statement, rules_of(dialect))


@given(TEXTS, st.sampled_from(("sqlite", "mysql", "oracle")))
def test_a_value_in_double_quotes_is_never_kept_where_it_may_be_one(value: str, dialect: str) -> None:
    written = f"S3CR3T{value}S3CR3T".replace('"', '""')
    for statement in (
        f'SELECT a FROM t WHERE b = "{written}" AND c = 1',
        f'INSERT INTO t VALUES ("{written}", "{written}")',
    ):
        assert "S3CR3T" not in without_literals(statement, rules_of(dialect))


def test_fingerprint_has_the_digest_of_all_and_the_beginning() -> None:
    first, second = (fingerprint(f"SELECT {'a, ' * 1_000} {name} FROM t", rules_of("sqlite")) for name in "xy")
    assert len(first.text) == LONGEST
    assert first.text == second.text
    assert first.digest != second.digest
    assert len(first.digest) == 32


def test_fingerprint_of_more_values_is_the_same() -> None:
    rules = rules_of("sqlite")
    few = fingerprint("INSERT INTO t (a) VALUES (?), (?)", rules)
    many = fingerprint(f"INSERT INTO t (a) VALUES {', '.join(['(?)'] * 20_000)}", rules)
    assert few == many


def test_fingerprint_of_what_may_be_no_sql_is_its_command() -> None:
    assert not_understood("SELECT * FROM t WHERE a = joe@example.org").text == "SELECT (not understood)"
    assert not_understood("joe@example.org").text == "SQL (not understood)"


@pytest.mark.parametrize(
    "piece", ["(", "'", "''", "(?, ", "((", "/*", "1.", "$a", "$$", '"', "\\'", "%(", "(?), ", "1", "1_"]
)
def test_no_statement_takes_long(piece: str) -> None:
    statement = "SELECT " + piece * (19_000 // len(piece)) + "a"
    began = time.perf_counter()
    for dialect in DIALECTS:
        without_literals(statement, rules_of(dialect))
    assert time.perf_counter() - began < 5
