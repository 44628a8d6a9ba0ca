"""Exports: the rows of a panel as CSV, a piece at a time.

Numbers are plain (seconds, bytes, counts) and instants are in the configured zone. Recorded text that a spreadsheet
would run as a formula is neutralised.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from .pages.page import Page
from .pages.panel import Cells
from .spans import naive_utc

PIECE = 64 * 1024
"""Characters sent at once."""


def lines(page: Page, rows: Iterator[Cells]) -> Iterator[str]:
    """A heading and `rows` as pieces of CSV. Raises what they raise."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in rows:
        writer.writerow([_cell(page, value) for value in row])
        if buffer.tell() >= PIECE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def neutralised(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would take for a formula (OWASP, "CSV injection").

    Spaces and control characters in front do not hide one from every program, nor do full-width forms.
    """
    first = text.lstrip(" \t\r\n\0\ufeff")[:1]
    return f"'{text}" if first in FORMULA_STARTS or text[:1] in CONTROLS else text


FORMULA_STARTS = frozenset("=+-@＝＋－＠")
CONTROLS = frozenset("\t\r\n\0")


def _cell(page: Page, value: Any) -> Any:
    if isinstance(value, str):
        return neutralised(value)
    if isinstance(value, datetime):
        return page.local(naive_utc(value)).isoformat(timespec="milliseconds")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, float):
        return round(value, 6)  # microseconds
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value if isinstance(value, int) or value is None else neutralised(str(value))
