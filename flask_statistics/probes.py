"""Paths that scanners ask for, whatever the app is: what other software leaves open where it is badly kept. Pure.

The rule is simple, so that it can be said: files of other languages, dumps and archives, hidden files, and the entrances of
well-known software.
"""

from __future__ import annotations

import re

_ENDINGS = (
    "php[0-9]?|phtml|phar|asp|aspx|ashx|asmx|jsp|jspx|jspa|do|action|cgi|cfm|pl|sql|sqlite3?|db|mdb|bak|old|orig|save|swp|zip|tar|"
    "gz|tgz|bz2|xz|rar|7z|jar|war|env|ini|cfg|conf|config|log|pem|key|pfx|p12|ya?ml|toml|htpasswd|htaccess|sh|bash|exe|dll"
)
_NAMES = (
    "wp-[a-z-]*|wordpress|xmlrpc|phpmyadmin|pma|myadmin|mysql|adminer|cgi-bin|boaform|hnap1|actuator|solr|jenkins|manager|"
    "jmx-console|invoker|struts|geoserver|druid|nacos|telescope|_profiler|_ignition|server-status|server-info|owa|ecp|autodiscover|"
    "exchange|remote|sslvpn|dana-na|console|debug|vendor|node_modules|administrator|joomla|drupal|magento|typo3|laravel|"
    "config\\.json|credentials|swagger[a-z.-]*|graphiql|_ignition|sdk|evox|gponform|goform|setup\\.cgi|api/v1/pods"
)
_PROBE = re.compile(
    rf"\.(?:{_ENDINGS})(?:[/~]|$)|^/+(?:[^/]+/)?(?:{_NAMES})(?:/|$)|/\.(?!well-known(?:/|$))[^/]|~$", re.IGNORECASE
)
LONGEST = 2_000
"""Characters of a path that are looked at."""


def is_probe(path: str) -> bool:
    """Whether a path that nothing leads to is one that a scanner tries."""
    return _PROBE.search(path[:LONGEST]) is not None
