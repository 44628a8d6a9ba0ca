"""What an answer is, by its media type: a page, data, or what pages are made of. Pure."""

from __future__ import annotations

LABELS = {"page": "Page", "api": "API", "asset": "Asset", "other": "Other"}
"""What a reader sees for each kind."""
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_ASSETS = frozenset({"application/wasm", "application/manifest+json", "application/vnd.ms-fontobject"})
_DATA = frozenset(
    {
        *("application/xml", "text/xml", "application/x-ndjson", "text/event-stream", "application/msgpack"),
        *("application/grpc", "application/x-protobuf", "application/protobuf", "application/cbor"),
    }
)


def content_of(mimetype: str) -> str:
    """What an answer with that media type holds: page, api, asset (what pages are made of) or other."""
    known = mimetype.partition(";")[0].strip().lower()
    main, _, name = known.partition("/")
    if known in _PAGES:
        return "page"
    if (
        main in ("image", "font", "audio", "video")
        or known == "text/css"
        or name.endswith(("javascript", "ecmascript"))
    ):
        return "asset"
    if known in _ASSETS:
        return "asset"
    is_data = name.endswith(("json", "+xml")) or known in _DATA
    return "api" if is_data else "other"
