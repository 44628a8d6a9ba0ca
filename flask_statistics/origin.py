"""Whether a request that changes something comes from the dashboard's own pages, and not from another site. Pure.

A browser sends its cookies, and remembered passwords, with a form that a stranger's page sends. It says as well where the form
is, and no page can make it say something else: in `Sec-Fetch-Site`, over HTTPS and on localhost, and in `Origin`, everywhere. The
rules are those of `CrossOriginProtection` in Go 1.25. Nothing is asked of pages, so that forms need no token, and nothing of
programs.
"""

from __future__ import annotations

from werkzeug.datastructures import Headers

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, which other sites may link to."""
OWN_SITES = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of our own pages, and of what the user entered or opened without a page."""


def is_from_another_site(method: str, headers: Headers, host: str) -> bool:
    """Whether to refuse the request, which asked for `host` (with its port, where that is not the scheme's own).

    A page that another port, or another name of the same site, served is another's as well. A client that sends neither header
    is no browser, or one from before 2020, and is let through.
    """
    if method in SAFE_METHODS:
        return False
    site = headers.get("Sec-Fetch-Site")
    if site:
        return site not in OWN_SITES
    origin = headers.get("Origin", "")
    return origin != "" and origin.partition("://")[2].lower() != host.lower()
