"""`flask statistics ...`: what is done from a shell."""

from __future__ import annotations

import click


def group() -> click.Group:
    """The commands, to be added to an app's command line."""
    return click.Group("statistics", help="Request statistics: tables, imports, rollups.")
