"""Browser, platform and device out of user-agent strings, and the names of stored values."""

import re
import subprocess
import sys
import time

import pytest

from flask_statistics.user_agents import KINDS, UNKNOWN, browser_family, browser_label, parse, parsing, platform_name
from flask_statistics.user_agents.bots import own_rules
from flask_statistics.user_agents.literals import AnyOf, alternatives, required, text_of

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
""".strip().splitlines()  # noqa: E501

# the kind, then one that has been taken for a person's, or could be
BOTS = """
search | Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
search | Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
ai | Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; MistralAI-Index/1.0; +https://docs.mistral.ai/robots)
ai | Mozilla/5.0 (compatible; NovaAct/1.0; +https://www.novaact.com)
ai | Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36 (compatible; Google-GeminiNotebook; +https://developers.google.com/)
ai | OpenAI/Python 1.50
ai | ChatGPT-Browser/1.0
ai | meta-externalads
ai | Anthropic-Claude/1.0
monitor | kube-probe/1.31
monitor | GoogleHC/1.0
monitor | ELB-HealthChecker/2.0
monitor | Fly-HealthCheck/1.0
monitor | Prometheus/2.55.0
monitor | Traefik healthcheck
monitor | Varnish health probe
library | curl/8.4.0
library | node
library | Bun/1.1.38
library | reqwest/0.12.9
library | GuzzleHttp/7
library | http.rb/5.2
library | Dart/3.5 (dart:io)
library | k6/0.55.0 (https://k6.io/)
library | PostmanRuntime/7.36
library | Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.18362.1714
library | Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/127.0 Safari/537.36
scanner | Nuclei - Open-source project (github.com/projectdiscovery/nuclei)
scanner | libredtail-http
scanner | Hello, world
scanner | Mozila/5.0
preview | Bluesky Cardyb/1.1; +mailto:support@bsky.app
preview | Misskey/13.14.2
feed | NetNewsWire (RSS Reader; https://netnewswire.com/)
feed | Newsboat/2.30
other | Mozilla/5.0 (compatible; NobodyKnowsIt/1.0)
other | nobody-knows-it/0.1
other | Mozilla/5.0 (Windows NT 10.0; Win64; x64) Whatever (+https://somebody.example/about)
other | Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko; Page Renderer) Chrome/27.0 Safari/537.36
""".strip().splitlines()  # noqa: E501

# people with words of bots in their phones and apps
NO_BOTS = """
Mozilla/5.0 (Linux; Android 15; PLB110 Build/AP3A.240617.008; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/141.0.7390.98 Mobile Safari/537.36
Mozilla/5.0 (Linux; U; Android 5.0.2; zh-cn; Redmi Note 2 Build/LRX22G) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30 SogouMSE,SogouMobileBrowser/3.8.5
Mozilla/5.0 (Linux; Android 5.1; O+ Sonic) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/80.0.3987.162 Mobile Safari/537.36
Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Code/1.61.2 Chrome/91.0.4472.164 Electron/13.5.1 Safari/537.36
Mozilla/5.0 (Linux; Android 8.1.0; Fever_Plus_J) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/95.0.4638.50 Safari/537.36
Mozilla/5.0 (iPhone; CPU iPhone OS 15_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.1 Mobile/15E148 Safari/605.1 NAVER(inapp; search; 1000; 11.8.10; 13)
ChatGPT/1.2024.177 (iOS 17.5.1; iPhone15,3; build 9)
MyShop/3.1 CFNetwork/1498.700.2 Darwin/23.6.0
WhatsApp/2.18.79 Android/5.1 Device/Meizu-MX5
GoEuroAndroid/9.39.3 (Realme RMX3366; Android 14; okhttp/4.9.3) WebView
Lynx/2.8.8pre.3 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.0.1e
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Claude/0.7.1 Chrome/128.0.0.0 Electron/32.1.2 Safari/537.36
""".strip().splitlines()  # noqa: E501

DEVICES = """
other | Mozilla/5.0 (Linux; Android 9; AFTLBT962E2) AppleWebKit/537.36 (KHTML, like Gecko) Silk/118.3.1 like Chrome/118.0.5993.155 Safari/537.36
other | Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.128 Safari/537.36 WebAppManager
other | Mozilla/5.0 (Linux; Android 11; BRAVIA 4K VH21) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36
tablet | Mozilla/5.0 (Linux; Android 11; SM-T515 Build/RP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/119.0.0.0 Mobile Safari/537.36
tablet | Mozilla/5.0 (Linux; Android 9; YT-X703F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Mobile Safari/537.36
mobile | Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063
desktop | Safari/14616.2.9 CFNetwork/897.15 Darwin/17.5.0 (x86_64)
""".strip().splitlines()  # noqa: E501


@pytest.mark.parametrize("line", PEOPLE)
def test_parse_people(line: str) -> None:
    browser, platform, device, user_agent = line.split(" | ", 3)
    found = parse(user_agent)
    assert (found.browser, str(found.platform), found.device) == (browser, platform, device)


@pytest.mark.parametrize("line", BOTS)
def test_parse_bots(line: str) -> None:
    kind, user_agent = line.split(" | ", 1)
    found = parse(user_agent)
    assert (found.device, found.bot) == ("bot", kind)


@pytest.mark.parametrize("user_agent", [*NO_BOTS, *(line.split(" | ", 3)[3] for line in PEOPLE)])
def test_parse_people_are_no_bots(user_agent: str) -> None:
    assert (parse(user_agent).device != "bot", parse(user_agent).bot) == (True, None)


@pytest.mark.parametrize("line", DEVICES)
def test_parse_devices(line: str) -> None:
    device, user_agent = line.split(" | ", 1)
    assert parse(user_agent).device == device


@pytest.mark.parametrize("user_agent", [None, "", "Mozilla/5.0", "-", "\x00", "\udc80"])
def test_parse_unknown(user_agent: str | None) -> None:
    assert parse(user_agent) == UNKNOWN


def test_parse_nearly_every_example_of_a_crawler_is_a_bot() -> None:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    examples = [example for crawler in CRAWLER_USER_AGENTS_DATA for example in crawler["instances"]]
    people = [example for example in examples if parse(example).device != "bot"]
    assert len(examples) > 2_000
    assert len(people) < len(examples) / 50  # apps and browsers of people, which that list has too


def test_rules_are_whole() -> None:
    rules = own_rules()
    assert {kind for kind, _ in rules} == {*KINDS, "person", "app"} - {"other"}
    assert len({expression for _, expression in rules}) == len(rules)


def test_parse_says_what_ua_parser_says() -> None:
    from ua_parser import parse_os, parse_user_agent

    texts = [line.rpartition(" | ")[2] for line in (*PEOPLE, *BOTS, *NO_BOTS, *DEVICES)]
    damaged = [text[:cut] + text[cut + 2 :] for text in texts for cut in (1, 8, len(text) // 2)]
    for text in [*texts, *damaged]:
        browser, platform = parse_user_agent(text), parse_os(text)
        found = parse(text)
        assert found.platform == (platform.family if platform else None), text
        assert (found.browser or "").startswith(browser.family.lower() if browser else ""), text


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("Googlebot", {"googlebot"}),
        (r"Googlebot[-/]([\d.]+)", {"googlebot"}),
        ("(?:Spider|Crawler)x", {"spider", "crawler"}),
        ("[Bb]ot", {"bot"}),
        ("Bots?/", {"bot"}),
        (r"a?bcd+e", {"bcd"}),
        ("abc|de", None),
        ("(?!abc)def", {"def"}),
        ("(abc)?de", None),
        ("(?i:Abc)", {"abc"}),
        (r"x\.yz{2}", {"x.y"}),
        (".*", None),
    ],
)
def test_required(pattern: str, texts: set[str] | None) -> None:
    assert required(pattern) == texts


def test_any_of_finds_what_the_expression_finds() -> None:
    expression = r"a(?:b|c)d|\bxy\b|[(|]z{2,}|Mac OS"
    assert list(alternatives(expression)) == [r"a(?:b|c)d", r"\bxy\b", r"[(|]z{2,}", "Mac OS"]
    any_of, whole = AnyOf(expression), re.compile(expression, re.IGNORECASE)
    for text in ("ACD", "abd", "axd", "xy", "xyz", "(zz", "|z", "mac os x", "", "é"):
        assert any_of.matches(text, text_of(text)) == bool(whole.search(text)), text


def test_parse_looks_at_the_start_of_an_overlong_string() -> None:
    assert parse("x" * parsing.MAX_LENGTH + " Googlebot/2.1") is parse("x" * 1_000_000)


def test_parse_of_what_nobody_sends_takes_no_time() -> None:
    parse("-")
    hostile = [mark * 300 + end for mark in " .;(/-@" for end in ("", "bot", "Android")]
    hostile += [word * 64 for word in ("Android;", "a ", "1.", "bot", "Mobile Safari/", "like Gecko; ")]
    started = time.perf_counter()
    for text in hostile:
        parse(text)
    assert time.perf_counter() - started < 0.02 * len(hostile)  # usually a fiftieth of that


def test_import_loads_neither_library() -> None:
    code = (
        "import sys, flask_statistics.user_agents as u;"
        "assert not {'ua_parser', 'crawleruseragents'} & set(sys.modules);"
        "u.parse(None); assert 'ua_parser' not in sys.modules;"
        "u.parse('curl/8.4.0'); assert {'ua_parser', 'crawleruseragents'} <= set(sys.modules)"
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
