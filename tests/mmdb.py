"""Writes small files of MaxMind's format (.mmdb), as its specification has them: version 2, with records of 32 bits."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = b"\xab\xcd\xefMaxMind.com"


def write(path: Path, networks: Mapping[str, Any], *, version: int = 6) -> None:
    """A file at `path` in which each of `networks`, none of them part of another, has its data."""
    data, places = b"", {}
    for network, found in networks.items():
        places[network] = len(data)
        data += encoded(found)
    tree: list[list[int | None]] = [[None, None]]
    ends: dict[tuple[int, int], int] = {}
    for network, place in places.items():
        node, bits = 0, _bits(network, version)
        for bit in bits[:-1]:
            following = tree[node][bit]
            if following is None:
                tree.append([None, None])
                following = tree[node][bit] = len(tree) - 1
            node = following
        ends[node, bits[-1]] = place
    count = len(tree)
    records = b"".join(
        (ends[node, bit] + count + 16 if (node, bit) in ends else count if one is None else one).to_bytes(4, "big")
        for node, both in enumerate(tree)
        for bit, one in enumerate(both)
    )
    about = {
        "node_count": count,
        "record_size": 32,
        "ip_version": version,
        "database_type": "Test",
        "languages": [],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "description": {},
    }
    path.write_bytes(records + bytes(16) + data + MARK + encoded(about))


def _bits(network: str, version: int) -> list[int]:
    """The path through the tree: in one of IPv6, IPv4 is at `::/96`."""
    known = ipaddress.ip_network(network)
    longest = 32 if version == 4 else 128
    length = longest - known.max_prefixlen + known.prefixlen
    return [int(known.network_address) >> longest - 1 - place & 1 for place in range(length)]


def encoded(value: Any) -> bytes:
    """A value of the data section; no text here has 29 bytes or more, and no number more than 32 bits."""
    if isinstance(value, str):
        text = value.encode()
        return _control(2, len(text)) + text
    if isinstance(value, int):
        number = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return _control(6, len(number)) + number
    if isinstance(value, dict):
        return _control(7, len(value)) + b"".join(encoded(name) + encoded(one) for name, one in value.items())
    assert isinstance(value, list)
    return _control(11, len(value)) + b"".join(map(encoded, value))


def _control(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
