"""Which requests `STATISTICS_EXCLUDE` keeps out, by path or endpoint. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable


def excluder(patterns: tuple[str, ...]) -> Callable[[str, str | None], bool]:
    """Whether a path or an endpoint is excluded; patterns that begin with `/` are for paths."""
    if not patterns:
        return lambda path, endpoint: False
    paths = _union(pattern for pattern in patterns if pattern.startswith("/"))
    endpoints = _union(pattern for pattern in patterns if not pattern.startswith("/"))
    return lambda path, endpoint: bool(paths.match(path) or (endpoint and endpoints.match(endpoint)))


def _union(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs) or r"(?!)")
