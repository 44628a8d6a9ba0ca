"""What of a path, a query, a referrer, a header, an exception and a traceback may be stored: all but secrets, which become `***`.

Text in, text out; nothing is read or written. A secret is known by the name that stands before it (a parameter, an argument of
a route, a segment of a path), or by its looks (a JWT, the keys of well-known services). docs/privacy.md has the tables.
"""

from __future__ import annotations

from .exceptions import LONGEST_TRACEBACK, exception, formatted, line, sent_secrets
from .texts import MASK, Masking, is_secret_argument, masked_header, masked_text

__all__ = [
    "LONGEST_TRACEBACK",
    "MASK",
    "Masking",
    "exception",
    "formatted",
    "is_secret_argument",
    "line",
    "masked_header",
    "masked_text",
    "sent_secrets",
]
