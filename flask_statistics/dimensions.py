"""The registry of what requests can be filtered and broken down by.

A dimension is declared once, with the raw column it reads and a function from the raw value to the dimension's value.
Panels, filters, the API, exports and rollups know of it from here alone. Pure.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from types import CodeType
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from . import channels, content, countries, parameters, user_agents
from .addresses import network_of, normal
from .config import SettingError
from .headers import language_of

_logger = logging.getLogger(__name__)

ADDRESS, NETWORK = "address", "network"
"""The dimensions that tell clients."""
Value = str | int | None
"""A dimension's value; None stands for requests that have none."""

OTHER_VALUE = "(other)"
"""What rollups show for values that were folded together."""


def apart(value: Value) -> Value:
    """`value`, which nobody takes for the folded rest: a text that says `(other)` itself gets one more pair of brackets."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\(+)other(\)+)", value)):
        return f"({value})" if len(found[1]) == len(found[2]) else value
    return value


def from_apart(value: Value) -> Value:
    """The text that `apart` made `value` of."""
    return value[1:-1] if isinstance(value, str) and value != OTHER_VALUE and apart(value) != value else value


class DimensionError(Exception):
    """The function of a dimension of the host's own failed; the message names the dimension, the cause says how."""


def _same(raw: Any) -> Any:
    return raw


def _text(value: Value) -> str:
    return str(value)


def _one_text(text: str) -> tuple[Value, ...]:
    return (text,)


def _one_integer(text: str) -> tuple[Value, ...]:
    if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII) or not -(2**63) <= int(text) < 2**63:
        raise ValueError("a whole number")
    return (int(text),)


def _checked(name: str, parse: Callable[[str], Any]) -> Callable[[str], tuple[Value, ...]]:
    """`parse` of a host's own, whatever it does with a text that somebody wrote into a URL: values, or `ValueError`."""

    def checked(text: str) -> tuple[Value, ...]:
        try:
            values = parse(text)
        except ValueError:
            raise
        except Exception:
            _logger.exception("Flask-Statistics: the dimension %r cannot read %r from a URL.", name, text[:100])
            raise ValueError("a value that this dimension can read") from None
        if not isinstance(values, tuple) or not all(value is None or isinstance(value, (str, int)) for value in values):
            _logger.error(
                "Flask-Statistics: parse of the dimension %r returned %r, and not a tuple of texts.", name, values
            )
            raise ValueError("a value that this dimension can read")
        return values

    return checked


@dataclass(eq=False)
class Dimension:
    """One thing to filter and break down by, such as the browser.

    ``Dimension("tenant", column="tenant_id", record=lambda: g.tenant)`` is enough for a column of your own.
    """

    name: str
    """Name in URLs and the API: letters, digits and `_`."""
    _: KW_ONLY
    column: str = ""
    """Attribute of the model that it reads; the name, unless said otherwise."""
    label: str = ""
    """Singular, as in the filter `Browser is Firefox`; made of the name, unless said otherwise."""
    plural: str = ""
    """Heading of its panel; made of the label, unless said otherwise."""
    value: Callable[[Any], Any] = _same
    """Raw value to dimension value; None and the empty text become None without asking it."""
    parse: Callable[[str], tuple[Value, ...]] = _one_text
    """Text of a URL to the values that it selects; raises `ValueError` that completes "must be ..."."""
    display: Callable[[Any], str] = _text
    """A value, never None, to the text shown."""
    none: str = "(none)"
    """Text shown for None."""
    many: bool = False
    """Whether it usually has thousands of values (rollups keep those another way)."""
    record: Callable[[], Any] | None = None
    """What is stored in `column`, asked once a request while it lasts; None: the host fills the column by itself."""
    version: str = ""
    """Of the function, where a change does not show in its own code."""
    sparse: bool = False
    """Whether nearly all requests have none, which says nothing: lists leave these out."""
    of_clients: bool = field(default=False, init=False)
    """Whether it tells clients: rollups have no text of it, and read it from raw rows as long as these are there."""
    derived: bool = field(init=False)
    """Whether `value` does anything: then several raw values can mean one dimension value."""
    whole: bool = field(default=False, init=False)
    """Whether its values are whole numbers, as those of its column are."""

    def __post_init__(self) -> None:
        taken = (*parameters.NAMES, *parameters.FORM_FIELDS)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name in taken:
            raise SettingError(
                f"The dimension's name is {self.name!r}, but must be lower-case letters, digits and _, "
                f"and none of {', '.join(sorted(taken))}."
            )
        self.column = self.column or self.name
        self.label = self.label or self.name.replace("_", " ").capitalize()
        self.plural = self.plural or _plural(self.label)
        self.derived = self.value is not _same
        if self.parse is not _one_text:
            self.parse = _checked(self.name, self.parse)

    @property
    def fingerprint(self) -> str:
        """What its values are made by: another column, function or `version`, and they may be others. At most 64 characters.

        Of a function of yours it is the code that counts, with its defaults and what it closes over, but not what it calls;
        of ours, the name. The code is one Python's, so what stays the same in others stands before it.
        """
        rough, exact = _identity(self.value) if self.derived else ("", "")
        return f"{_digest(self.column, self.many, self.version, rough)} {_PYTHON} {_digest(exact)}"

    def is_made_by(self, fingerprint: str) -> bool:
        """Whether values that were made by what had that fingerprint are the same as now; a new Python alone changes none."""
        mine, other = self.fingerprint.split(" "), fingerprint.split(" ")
        return mine == other or (len(other) == 3 and mine[0] == other[0] and mine[1] != other[1])

    def value_of(self, raw: Any) -> Value:
        """The dimension's value of a raw value; None if there is none. Raises `DimensionError` if `value` fails."""
        if raw is None or raw == "":
            return None
        try:
            value: Value = self.value(raw)
        except Exception as error:
            if isinstance(raw, bytes):  # as SQLite may hold in a column of texts
                return apart(str(raw))
            raise DimensionError(f"The function of the dimension {self.name!r} failed on a recorded value.") from error
        if (self.derived and self.parse is _one_text and value is not None) or isinstance(value, bytes):
            value = str(value)  # as a URL can say it, and as rollups number it
        return None if value == "" else apart(value)

    def values_of(self, text: str) -> tuple[Value, ...]:
        """The values that `text`, from a URL, selects: the empty text selects None, `5xx` a hundred status codes.

        Raises `ValueError` that completes "must be ...".
        """
        if text == OTHER_VALUE:
            return (OTHER_VALUE,)
        return (None,) if text == "" else self.parse(text)

    def text_of(self, value: Value) -> str:
        """The text that selects `value` in a URL: the inverse of `values_of`."""
        return "" if value is None else str(value)

    def label_of(self, value: Value) -> str:
        """What a reader sees for `value`; the plain value where `display` fails, so that it costs no page."""
        if value is None:
            return self.none
        try:
            return self.display(value)
        except Exception:
            _logger.exception("Flask-Statistics: the dimension %r cannot display %r.", self.name, value)
            return _text(value)


def _plural(noun: str) -> str:
    """`Addresses`, `Countries`, `Days`, `Browsers`: by the rules of English; what is irregular is declared."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search(r"(s|x|z|ch|sh)$", noun) else f"{noun}s"


_PYTHON = sys.implementation.cache_tag or sys.implementation.name


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _identity(function: Any) -> tuple[str, str]:
    """What tells a function from another that would give other values: what any Python sees, and what this one does."""
    if isinstance(function, functools.partial):
        rough, exact = _identity(function.func)
        bound = f"{_plain(function.args)} {_plain(function.keywords)}"
        return f"{rough} {bound}", f"{exact} {bound}"
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None and not hasattr(function, "__qualname__"):  # an object that can be called
        rough, exact = _identity(type(function).__call__)
        return f"{type(function).__qualname__} {rough}", exact
    module = getattr(function, "__module__", None) or ""
    if code is None or module.partition(".")[0] == __package__:
        return f"{module}.{function.__qualname__}", ""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    given = f"{_plain(function.__defaults__)} {_plain(function.__kwdefaults__)} {_plain(cells)}"
    texts, exact = _code(code)
    return f"{sorted(texts)} {given}", exact


def _code(code: CodeType) -> tuple[set[str], str]:
    """The texts in a function, and what it does, but for where it stands."""
    texts = {one for one in code.co_consts if isinstance(one, str)}
    inner = []
    for one in code.co_consts:
        if isinstance(one, CodeType):
            more, exact = _code(one)
            texts |= more
            inner.append(exact)
        else:
            inner.append(_plain(one))
    return texts, f"{code.co_code.hex()} {inner} {code.co_names} {code.co_varnames}"


def _plain(value: Any) -> str:
    """A value as text, without an address in memory, which each process has another of."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(_plain, value)))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_plain(key)}: {_plain(one)}' for key, one in value.items())}}}"
    if isinstance(value, (str, bytes, int, float, complex, type(None), type(...), re.Pattern)):
        return repr(value)
    return " ".join(_identity(value)) if callable(value) else type(value).__qualname__


def _status_codes(text: str) -> tuple[Value, ...]:
    if re.fullmatch(r"[1-9]xx", text):
        first = int(text[0]) * 100
        return tuple(range(first, first + 100))
    try:
        return _one_integer(text)  # other writers store more than three digits can say
    except ValueError:
        raise ValueError("a status code such as 404, or a class of them such as 5xx") from None


def _status_label(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def referrer_host(referrer: str) -> str | None:
    """The host that a Referer header names, in lower case without port and `www.`; None if it names none."""
    try:
        host = urlsplit(referrer.strip()).hostname
    except ValueError:  # [::broken
        return None
    return host.removeprefix("www.") or None if host else None


def exception_type(stored: str) -> str:
    """The type's name in a stored `repr` of an exception: `KeyError('cart')` gives KeyError."""
    return re.match(r"[^(:\s]*", stored.lstrip("<")).group() or stored[:100]  # type: ignore[union-attr]


def _device(user_agent: str) -> str:
    return user_agents.parse(user_agent).device


def _bot(user_agent: str) -> str | None:
    return user_agents.parse(user_agent).bot


def _known_bot(stored: str) -> str:
    """What another writer called a kind of bot, by the name used for it here."""
    kind = stored.strip().lower()
    return kind if kind in user_agents.KINDS else "other"


def _bot_named(text: str) -> tuple[Value, ...]:
    if text.lower() not in user_agents.KINDS:
        raise ValueError("one of " + ", ".join(user_agents.KINDS))
    return (text.lower(),)


def _bot_label(kind: str) -> str:
    return {"ai": "AI", "library": "HTTP library"}.get(kind, kind.capitalize())


_ONE_OF_DEVICES = ("bot", "mobile", "tablet", "desktop", "other")


def _known_device(stored: str) -> str:
    """What another writer called a device, by the name used for it here."""
    device = stored.strip().lower()
    return device if device in _ONE_OF_DEVICES else "other"


def _device_named(text: str) -> tuple[Value, ...]:
    if text.lower() not in _ONE_OF_DEVICES:
        raise ValueError("one of " + ", ".join(_ONE_OF_DEVICES))
    return (text.lower(),)


def _content_named(text: str) -> tuple[Value, ...]:
    if text.lower() not in content.LABELS:
        raise ValueError("one of " + ", ".join(content.LABELS))
    return (text.lower(),)


def _content_label(kind: str) -> str:
    return content.LABELS.get(kind, kind)


def _known_channel(stored: str) -> str:
    """What another writer called a channel, by the name used for it here."""
    channel = stored.strip().lower()
    return channel if channel in channels.LABELS else "links"


def _channel_label(channel: str) -> str:
    return channels.LABELS.get(channel, channel)


def _country_named(text: str) -> tuple[Value, ...]:
    return (text.upper(),)


def _language_named(text: str) -> tuple[Value, ...]:
    return (language_of(text) or text,)


def _lower(text: str) -> tuple[Value, ...]:
    return (text.lower(),)


def _network(raw: Any) -> str | None:
    return network_of(str(raw))


def _one_network(text: str) -> tuple[Value, ...]:
    network = network_of(text.partition("/")[0])
    if network is None:
        raise ValueError("a network such as 192.0.2.0/24, or an address in it")
    return (network,)


def _of_clients(dimension: Dimension) -> Dimension:
    dimension.of_clients = True
    return dimension


BUILT_IN: tuple[Dimension, ...] = (
    Dimension("path", many=True),
    Dimension("route", none="(no route matched)"),
    Dimension("referrer", value=referrer_host, parse=_lower, none="(direct)", many=True),
    Dimension("channel", value=_known_channel, display=_channel_label, parse=_lower, none="(unknown)"),
    Dimension("campaign", none="(no campaign)", many=True, sparse=True),
    Dimension(
        "browser", value=user_agents.browser_family, parse=_lower, display=user_agents.browser_label, none="(unknown)"
    ),
    Dimension("platform", value=user_agents.platform_name, none="(unknown)"),
    Dimension("device", value=_known_device, display=str.capitalize, parse=_device_named, none="(unknown)"),
    Dimension(
        "device", column="user_agent", value=_device, display=str.capitalize, parse=_device_named, none="(unknown)"
    ),
    Dimension(
        "bot",
        value=_known_bot,
        label="Kind of bot",
        plural="Kinds of bots",
        parse=_bot_named,
        display=_bot_label,
        none="(people)",
    ),
    Dimension(
        "bot",
        column="user_agent",
        value=_bot,
        label="Kind of bot",
        plural="Kinds of bots",
        parse=_bot_named,
        display=_bot_label,
        none="(people)",
    ),
    Dimension("status_code", label="Status", plural="Status codes", parse=_status_codes, display=_status_label),
    Dimension("method"),
    Dimension("mimetype", label="MIME type"),
    Dimension(
        "content",
        column="mimetype",
        value=content.content_of,
        parse=_content_named,
        display=_content_label,
        none="(none)",
        label="Kind of content",
        plural="Kinds of content",
    ),
    Dimension("exception", value=exception_type, sparse=True),
    Dimension("issue", none="(no issue)", sparse=True),
    Dimension("country", plural="Countries", parse=_country_named, display=countries.label_of, none="(unknown)"),
    Dimension("host", parse=_lower),
    Dimension("language", parse=_language_named),
    Dimension("release"),
    Dimension("user", none="(nobody)", many=True),
    _of_clients(Dimension(ADDRESS, column="remote_address", none="(no address)", many=True)),
    _of_clients(
        Dimension(NETWORK, column="remote_address", value=_network, parse=_one_network, none="(no network)", many=True)
    ),
)
"""In the order of the panels. Of two with one name, the first whose column the model has is used."""


def available(
    columns: Mapping[str, Any], extra: Iterable[Dimension] = (), *, without: Collection[str] = ()
) -> dict[str, Dimension]:
    """The dimensions that a model with these columns (attribute name to column) can answer, by name, in order.

    Those of ours that are named in `without` are left out. Raises `SettingError` for an extra dimension whose name is taken or
    whose column is missing.
    """
    chosen: dict[str, Dimension] = {}
    for dimension in BUILT_IN:
        if dimension.column in columns and dimension.name not in without:
            chosen.setdefault(dimension.name, _typed(dimension, columns[dimension.column]))
    for dimension in extra:
        if dimension.name in chosen:
            raise SettingError(f"There is a dimension {dimension.name!r} already; give yours another name.")
        if dimension.column not in columns:
            raise SettingError(
                f"The dimension {dimension.name!r} reads the column {dimension.column!r}, which the model does not have."
            )
        chosen[dimension.name] = _typed(dimension, columns[dimension.column])
    return chosen


def _typed(dimension: Dimension, column: Any) -> Dimension:
    """`dimension` with what its column tells of its values: whole numbers, addresses, which have a normal form, or what a URL
    has to name by a text: dates, booleans, numbers with a fraction, types of somebody's own.

    Nobody must have said otherwise.
    """
    if dimension.derived:
        return dimension
    typed, kind, plain = copy(dimension), getattr(column, "type", None), dimension.parse is _one_text
    if isinstance(kind, sa.Integer):
        typed.whole = True
        if plain:
            typed.parse = _one_integer
    elif dimension.column == "remote_address" and plain and not (dimension.of_clients and isinstance(kind, sa.String)):
        typed.value, typed.derived, typed.parse = _address, True, _one_address
    elif kind is not None and plain and (isinstance(kind, sa.Enum) or not isinstance(kind, sa.String)):
        typed.value, typed.derived = _text_of, True
        if isinstance(kind, sa.Boolean):
            typed.parse = _one_boolean
    return typed


def _address(raw: Any) -> str:
    return normal(str(raw)) or str(raw)  # a hash, a host name, or what an older version stored


def _text_of(raw: Any) -> str:
    return raw.name if isinstance(raw, enum.Enum) else str(raw)


def _one_boolean(text: str) -> tuple[Value, ...]:
    return (text.capitalize(),)  # true, as JSON and JavaScript have it


def _one_address(text: str) -> tuple[Value, ...]:
    return (_address(text),)
