"""What the toolbar's forms send, as a URL says it: a day and a time are an instant, a field and a value are a filter. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from werkzeug.datastructures import MultiDict

from .dimensions import Dimension
from .parameters import CONTAINS, FORM_FIELDS

IS_NOT = "is not"


def is_sent(args: MultiDict[str, str]) -> bool:
    """Whether a query string comes from one of the forms, and is no URL to keep."""
    return any(name in args for name in FORM_FIELDS)


def as_parameters(args: MultiDict[str, str], dimensions: Mapping[str, Dimension]) -> MultiDict[str, str]:
    """The parameters that a form's fields `args` mean; what is said of an unknown field is left out."""
    found = MultiDict((name, text) for name, text in args.items(multi=True) if name not in FORM_FIELDS)
    for name in ("start", "end"):
        day, clock = args.get(name), args.get(f"{name}_time")
        if day and clock:
            found[name] = f"{day}T{clock}"
    field, value = args.get("dim", ""), args.get("value", "").strip()
    if field == CONTAINS and value:
        found[CONTAINS] = value
    elif field in dimensions and value:
        found.add(f"{field}!" if args.get("op") == IS_NOT else field, _in_its_spelling(dimensions[field], value))
    return found


def _in_its_spelling(dimension: Dimension, text: str) -> str:
    """A value as the dimension's links write it; what cannot be read stays, so that the page says what is wrong."""
    try:
        values = dimension.values_of(text)
    except ValueError:
        return text
    return dimension.text_of(values[0]) if len(values) == 1 else text
