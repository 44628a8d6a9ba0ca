"""For migrations by Alembic and Flask-Migrate: keeps the tables that other settings need.

Which tables the metadata has depends on the settings, and these differ between a laptop and production. A migration that is
written where rollups are off would drop them, and with them the history of which raw rows are gone.
"""

from __future__ import annotations

from typing import Any

OURS = "statistics_"
"""What the names of our tables begin with."""


def include_object(
    _object: Any,
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: Any,
) -> bool:
    """Whether Alembic compares that part of a database with the metadata: all but our tables that the metadata does not have.

    For ``context.configure(..., include_object=include_object)`` in ``migrations/env.py``.
    """
    return not (type_ == "table" and reflected and compare_to is None and (name or "").startswith(OURS))
