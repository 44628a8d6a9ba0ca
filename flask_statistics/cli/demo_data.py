"""`demo-data`: made-up requests."""

from __future__ import annotations

import sys
from datetime import timedelta

import click
import sqlalchemy as sa
from flask import current_app

from .. import made_up, traffic, trail
from ..state import State, state_of
from .shared import commands, count_of, database_errors, refuse_clickhouse, utc_now


@commands.command("demo-data")
@click.option("--requests", type=click.IntRange(1), default=30_000, show_default=True, help="How many.")
@click.option("--days", type=click.IntRange(1, 10_000), default=28, show_default=True, help="Over how many days.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same requests.")
@click.option("--yes", is_flag=True, help="Do not ask when requests are stored already.")
def demo_data(requests: int, days: int, seed: int, yes: bool) -> None:
    """Store made-up requests of the days before now, to look at the dashboard with."""
    state, now = state_of(current_app), utc_now()
    refuse_clickhouse(state)
    rows = traffic.generate(start=now - timedelta(days=days), end=now, requests=requests, seed=seed)
    with database_errors("'flask statistics init' creates missing tables."):
        if not yes and _has_rows(state):
            click.confirm(
                "Requests are stored already, and made-up ones cannot be told apart later. Go on?", abort=True
            )
        with (
            state.engine().begin() as connection,
            click.progressbar(length=requests, label="Making requests", file=sys.stderr) as bar,
        ):
            for count in made_up.store(connection, state, rows, now=now):
                bar.update(count)
    trail.note(state.app, "changed", f"made up {count_of(requests, 'request')}")
    click.echo(f"{count_of(requests, 'request')} stored. See them at {state.settings.url_prefix}/?span={days}d")


def _has_rows(state: State) -> bool:
    with state.engine().connect() as connection:
        return connection.execute(sa.select(state.raw.key).limit(1)).first() is not None
