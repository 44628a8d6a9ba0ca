"""Record to row: user agent parsed, values made to fit the user's columns. Shared by all writers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import user_agents
from ..models import RawTable


def row_of(values: Mapping[str, Any], raw: RawTable) -> dict[str, Any]:
    """A record, given by its values, as parameters of an insert into the raw table."""
    agent = user_agents.parse(values["user_agent"])
    return raw.row({**values, "browser": agent.browser, "platform": agent.platform, "device": agent.device})
