"""`flask statistics ...`: what is done from a shell. Creates tables, imports logs, makes demo data, keeps rollups.

Prints what it did, on standard error what went wrong; the exit code is 0 only if all was done.
"""

from __future__ import annotations

from . import demo_data, logs, rollups, spool, status, tables, token, visitors
from .shared import commands, group

__all__ = ["commands", "demo_data", "group", "logs", "rollups", "spool", "status", "tables", "token", "visitors"]
