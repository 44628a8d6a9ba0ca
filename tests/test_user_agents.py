"""Browser, platform and device out of user-agent strings, and the names of stored values."""

import subprocess
import sys

import pytest

from flask_statistics import user_agents
from flask_statistics.user_agents import UNKNOWN, UserAgent, browser_family, browser_label, parse, platform_name

# one line a browser: what is expected, then what it sends
PEOPLE = """
chrome 131.0.0 | Windows | desktop | Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36
edge 131.0.0 | Windows | desktop | Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0
opera 115.0.0 | Windows | desktop | Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0
ie 11.0 | Windows | desktop | Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko
firefox 132.0 | Windows | desktop | Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0
firefox 132.0 | Ubuntu | desktop | Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0
safari 18.1 | Mac OS X | desktop | Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15
chrome 131.0.0 | Chrome OS | desktop | Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36
mobile safari 18.1 | iOS | mobile | Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1
chrome mobile ios 131.0.6778 | iOS | mobile | Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1
firefox ios 132.0 | iOS | mobile | Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/132.0 Mobile/15E148 Safari/605.1.15
instagram 355.0.0 | iOS | mobile | Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21G93 Instagram 355.0.0.33.81 (iPhone14,5; iOS 17_6_1; de_DE; de; scale=3.00; 1170x2532; 653)
mobile safari 17.7 | iOS | tablet | Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1
chrome mobile ios 131.0.6778 | iOS | tablet | Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1
chrome mobile 131.0.0 | Android | mobile | Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36
samsung internet 26.0 | Android | mobile | Mozilla/5.0 (Linux; Android 14; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36
chrome mobile 120.0.0 | Android | mobile | Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36
chrome mobile 96.0.4664 | Android | mobile | Mozilla/5.0 (Linux; Android 9; CUBOT_X19 Build/PPR1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Mobile Safari/537.36
facebook 489.0.0 | Android | mobile | Mozilla/5.0 (Linux; Android 13; SM-A536B Build/TP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/131.0.6778.39 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/489.0.0.66.82;]
chrome mobile webview 119.0.0 | Android | mobile | Mozilla/5.0 (Linux; Android 11; Pixel 5; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/119.0.0.0 Mobile Safari/537.36
duckduckgo mobile 5 | Android | mobile | Mozilla/5.0 (Linux; Android 12; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.5735.196 Mobile DuckDuckGo/5 Safari/537.36
opera mini 36.2.2254 | Android | mobile | Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16
android 13 | Android | mobile | Dalvik/2.1.0 (Linux; U; Android 13; SM-G991B Build/TP1A.220624.014)
firefox mobile 132.0 | Android | mobile | Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0
firefox mobile 132.0 | Android | tablet | Mozilla/5.0 (Android 14; Tablet; rv:132.0) Gecko/132.0 Firefox/132.0
chrome 118.0.0 | Android | tablet | Mozilla/5.0 (Linux; Android 13; SM-X906C Build/TP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36
amazon silk 118.4.1 | Android | tablet | Mozilla/5.0 (Linux; Android 11; KFTRWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/118.4.1 like Chrome/118.0.5993.155 Safari/537.36
safari 15.4 | None | other | Mozilla/5.0 (PlayStation; PlayStation 5/6.00) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15
postmanruntime 7.36 | None | other | PostmanRuntime/7.36
""".strip().splitlines()  # noqa: E501

BOTS = [
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "googlebot 2.1"),
    ("curl/8.4.0", "curl 8.4.0"),
    ("Wget/1.21.3", "wget 1.21.3"),
    ("python-requests/2.31.0", "python requests 2.31"),
    ("okhttp/4.12.0", "okhttp 4.12.0"),
    ("Go-http-client/1.1", "go-http-client 1.1"),
    ("Java/17.0.1", "java 17.0.1"),  # known to user-agents alone
    ("python-httpx/0.27", None),  # known to crawler-user-agents alone
]


@pytest.mark.parametrize("line", PEOPLE)
def test_parse_people(line: str) -> None:
    browser, platform, device, user_agent = line.split(" | ", 3)
    found = parse(user_agent)
    assert (found.browser, str(found.platform), found.device) == (browser, platform, device)


@pytest.mark.parametrize(("user_agent", "browser"), BOTS)
def test_parse_bots(user_agent: str, browser: str | None) -> None:
    assert parse(user_agent) == UserAgent(browser=browser, platform=None, device="bot")


@pytest.mark.parametrize("user_agent", [None, "", "Mozilla/5.0", "-", "\x00", "\udc80"])
def test_parse_unknown(user_agent: str | None) -> None:
    assert parse(user_agent) == UNKNOWN


def test_parse_every_example_of_a_crawler_is_a_bot() -> None:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    examples = [example for crawler in CRAWLER_USER_AGENTS_DATA for example in crawler["instances"]]
    assert len(examples) > 2_000
    assert [example for example in examples if parse(example).device != "bot"] == []


def test_crawler_test_says_what_the_library_says() -> None:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA, is_crawler

    examples = [example for crawler in CRAWLER_USER_AGENTS_DATA for example in crawler["instances"][:1]]
    damaged = [example[:cut] + example[cut + 2 :] for example in examples for cut in (1, 8, len(example) // 2)]
    texts = [*examples, *damaged, *(example.upper() for example in examples[::10]), *PEOPLE]
    expected = [is_crawler(text) for text in texts]
    assert [user_agents._crawler_test()(text) for text in texts] == expected
    assert expected.count(False) > 100


def test_parse_looks_at_the_start_of_an_overlong_string() -> None:
    user_agents._parse.cache_clear()
    assert parse("x" * user_agents.MAX_LENGTH + " Googlebot/2.1") is parse("x" * 1_000_000)
    assert user_agents._parse.cache_info().currsize == 1


def test_import_loads_neither_library() -> None:
    code = (
        "import sys, flask_statistics.user_agents as u;"
        "assert not {'user_agents', 'ua_parser', 'crawleruseragents'} & set(sys.modules);"
        "u.parse(None); assert 'user_agents' not in sys.modules;"
        "u.parse('curl/8.4.0'); assert {'user_agents', 'crawleruseragents'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("stored", "family"),
    [
        ("firefox 72.0", "firefox"),
        ("mobile safari 17.1", "mobile safari"),
        ("mobile safari ui/wkwebview", "mobile safari ui/wkwebview"),
        ("curl", "curl"),
        ("google None", "google"),
        ("None None", None),
        ("", None),
        (None, None),
    ],
)
def test_browser_family(stored: str | None, family: str | None) -> None:
    assert browser_family(stored) == family


@pytest.mark.parametrize(
    "label",
    [
        *("Firefox", "Mobile Safari", "Samsung Internet", "Chrome Mobile iOS", "Mobile Safari UI/WKWebView", "IE"),
        *("IE Mobile", "Opera Mini", "curl", "Wget", "Python Requests", "Go-http-client", "Googlebot", "GPTBot"),
    ],
)
def test_browser_label(label: str) -> None:
    assert browser_label(label.lower()) == label


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("Mac OS X", "macOS"),
        ("macos", "macOS"),
        ("windows", "Windows"),
        ("iphone", "iOS"),
        ("ipad", "iOS"),
        ("linux", "Linux"),
        ("android", "Android"),
        ("Ubuntu", "Ubuntu"),
        ("", None),
        (None, None),
    ],
)
def test_platform_name(stored: str | None, name: str | None) -> None:
    assert platform_name(stored) == name
