"""Who asks: what `STATISTICS_USER` says of the present request's user, as it is or hashed.

Nobody is looked up for it: no session is read, and no user is loaded whom the host did not load itself.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask, g

from .config import SettingError

AskUser = Callable[[], str | None]
"""The present request's user as it is stored; None: nobody. It may raise what the host's function raises."""
_MOST = 10_000
"""Characters of a user's name that are looked at."""


def asked_user(app: Flask, setting: str | Callable[[], Any], *, hashed: bool) -> AskUser:
    """What tells the user. Raises `SettingError` if it is to be hashed, and the app has no secret."""
    ask: Callable[[], Any] = _of_flask_login if isinstance(setting, str) else app.ensure_sync(setting)
    if not hashed:
        return lambda: _text(ask())
    if not app.secret_key:
        raise SettingError(
            "STATISTICS_USER_HASHED is True, but the app has no SECRET_KEY, from which the hash's key is made: set one before "
            "Statistics(app, ...)."
        )
    secret = app.secret_key.encode() if isinstance(app.secret_key, str) else bytes(app.secret_key)
    key = blake2b(secret, person=b"fl-stats user", digest_size=32).digest()

    def hash_of() -> str | None:
        user = _text(ask())
        return None if user is None else blake2b(user.encode("utf-8", "replace"), key=key, digest_size=8).hexdigest()

    return hash_of


def _text(user: Any) -> str | None:
    """A user's id or name as text. Raises `TypeError` for what is none: the text of an object may be another each time."""
    if user is None or user == "":
        return None
    if isinstance(user, bool) or not isinstance(user, (str, int, UUID)):
        raise TypeError(
            f"STATISTICS_USER gave {type(user).__name__}, but must give a text, a whole number, a UUID or None"
        )
    return str(user)[:_MOST]


def _of_flask_login() -> Any:
    """The id of the user whom Flask-Login has loaded for this request; None if nobody asked it to, or nobody is logged in.

    `current_user` would load one: it reads the session, and then answers vary by cookie, and asks the host's database.
    """
    user = g.get("_login_user")
    if user is None:
        return None
    state = sa.inspect(user, raiseerr=False)
    if state is None or not state.expired_attributes:
        return user.get_id()
    # the host has committed, and to ask the object would ask its database; its key is what `UserMixin.get_id` gives
    usual = getattr(type(user).get_id, "__module__", "") == "flask_login.mixins"
    return state.identity[0] if usual and state.identity and len(state.identity) == 1 else None
