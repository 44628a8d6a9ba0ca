"""`flask statistics ...`: what is done from a shell. Creates tables, imports logs, makes demo data, keeps rollups.

Prints what it did, on standard error what went wrong; the exit code is 0 only if all was done.
"""

from .shared import commands

__all__ = ["commands"]
