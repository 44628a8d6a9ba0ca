"""How long the spool's writer and its thread wait, pause and look."""

from __future__ import annotations

SWEEP_S = 5.0
"""How often a process looks for what dead ones left."""
SETTLE_S = 1.0
"""How long the dashboard waits for what was just requested."""
STOP_S = 10.0
"""How long the end of a process waits for a last move; what is not moved by then, the next one moves."""
LOCK_WAIT_MS = 2_000
"""How long a move waits for another writer of a SQLite database; requests do not."""
INLINE_LOCK_WAIT_MS = 1_000
"""The same for a move within a request, where there is no thread."""
LOCKED_S = 10.0
"""A SQLite database that is locked for so long is worth a line in the log."""
BACK_OFF_S = (0.5, 10.0)
"""The shortest and the longest pause between attempts while the database is away."""
OPEN_AGAIN_S = 1.0
"""After this time a request tries again to open a spool that could not be opened."""
REFUSED_SAID_S = 60.0
"""How often at most the log says that the raw table refuses requests."""
