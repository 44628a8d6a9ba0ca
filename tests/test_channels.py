"""Channels and campaigns: by which way a request came, whatever its client sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.channels import LABELS, LONGEST_CAMPAIGN, campaign_of, channel_of


@pytest.mark.parametrize(
    ("referrer", "channel"),
    [
        (None, "direct"),
        ("", "direct"),
        ("about:blank", "direct"),
        ("http://[::1", "direct"),
        ("nonsense", "direct"),
        ("https://shop.example/cart", "internal"),
        ("https://www.SHOP.example:8443/", "internal"),
        ("https://blog.shop.example/", "links"),
        ("https://friend.example/links", "links"),
        ("https://www.google.com/", "search"),
        ("https://www.google.co.uk/search?q=a", "search"),
        ("https://news.google.at/", "search"),
        ("https://google.evil.example/", "links"),
        ("https://notgoogle.com/", "links"),
        ("https://duckduckgo.com/", "search"),
        ("https://uk.search.yahoo.com/", "search"),
        ("https://mail.google.com/mail/u/0/", "mail"),
        ("https://gemini.google.com/app", "ai"),
        ("https://chatgpt.com/", "ai"),
        ("https://chat.openai.com/", "ai"),
        ("https://t.co/x", "social"),
        ("https://old.reddit.com/r/flask", "social"),
        ("https://chat.co/x", "links"),
        ("android-app://com.google.android.gm/", "mail"),
        ("android-app://com.google.android.googlequicksearchbox", "search"),
        ("android-app://com.unknown", "links"),
    ],
)
def test_channel_of_a_referrer(referrer: str | None, channel: str) -> None:
    assert channel_of(referrer, "shop.example", None) == channel


@pytest.mark.parametrize(
    ("query", "channel"),
    [
        ("utm_medium=email", "mail"),
        ("a=1&utm_medium=Newsletter&utm_source=x", "mail"),
        ("utm_medium=social", "social"),
        ("utm_medium=cpc", "search"),
        ("utm_medium=print", "links"),
        ("utm_medium", "links"),
        ("utm_source=email", "links"),
        ("x=utm_medium%3Demail", "links"),
    ],
)
def test_a_campaigns_link_says_more_than_the_page_that_it_is_on(query: str, channel: str) -> None:
    assert channel_of("https://friend.example/", "shop.example", query) == channel


def test_own_site_is_not_known_where_the_host_is_not() -> None:
    assert channel_of("https://shop.example/", None, None) == "links"
    assert channel_of("https://shop.example/", "www.shop.example", None) == "internal"


@pytest.mark.parametrize(
    ("query", "campaign"),
    [
        (None, None),
        ("", None),
        ("page=2", None),
        ("utm_source=news", "news"),
        ("utm_source=news&utm_campaign=spring+sale", "spring sale"),
        ("utm_campaign=&utm_source=news", "news"),
        ("UTM_Campaign=%C3%BCber", "über"),
        ("utm_campaign=%20", None),
        ("utm_campaign=" + "x" * 500, "x" * LONGEST_CAMPAIGN),
        ("utm_campaign=a&" + "b=1&" * 200, None),
    ],
)
def test_campaign_of_a_query(query: str | None, campaign: str | None) -> None:
    assert campaign_of(query) == campaign


@given(st.text(), st.text(), st.text())
def test_whatever_is_sent_has_one_channel(referrer: str, host: str, query: str) -> None:
    assert channel_of(referrer, host, f"utm_medium={query}&{query}") in LABELS
    campaign = campaign_of(f"utm_campaign={query}")
    assert campaign is None or 0 < len(campaign) <= LONGEST_CAMPAIGN
