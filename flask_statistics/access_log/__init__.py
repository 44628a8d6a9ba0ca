"""Access logs: their lines, formats and files, and how they get into the raw table."""

from .formats import Format, parse_line
from .importing import ImportRefused, LogImport, import_table
from .lines import Entry
from .reading import open_log, read_lines

__all__ = [
    "Entry",
    "Format",
    "ImportRefused",
    "LogImport",
    "import_table",
    "open_log",
    "parse_line",
    "read_lines",
]
