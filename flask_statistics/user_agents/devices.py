"""What kind of device a person's user agent names, by the words that its maker or system puts there. Pure.

First what is no screen of a person's own (televisions, consoles, watches, cars), then tablets, phones, and at last what stands
on a desk: the words of the last are in most of the others as well.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from .literals import AnyOf, Text

Device = Literal["bot", "mobile", "tablet", "desktop", "other"]

_ELSE: Final = AnyOf(
    # televisions and what is plugged into them
    r"smart-?_?tv|hbbtv|ce-html|google ?tv|apple ?tv|android ?tv|\btvos\b|bravia|\baft[a-z]\w*|roku|web0s|netcast|viera"
    r"|aquos|mibox"
    r"|mi box|vizio|hybridcast|\bomi/|opera tv|crkey|kreatv|philipstv|nettv|\bstb\b|set-?top|\bott\b|\batv\b|\bdtv"
    r"|tvbox|largescreen"
    r"|(?:\b|_|\w\w|\d\d)tv(?![a-z])|dlnadoc|netbox|beyondtv|\bx96|\bh96|\bt95|\bmxq|bdp|blu-?ray|projector|chromecast"
    r"|nexus player"
    r"|tizen[^)]*tv|sonydtv|\bhisense|maple"
    # consoles, watches, glasses, cars
    r"|playstation|nintendo|xbox|\bwii\b|\bpsp\b|ouya|sega|shield|watch\w*[ ,/\d]|\bwear\b|smartwatch|\bsm-r\d{3}"
    r"|\bwatchos|glass \d"
    r"|quest \d|oculus|vive|picovr|pico \d|tesla/|qtcarbrowser|carplay|android auto|automotive|\bivi\b"
    # players, speakers, tills
    r"|\bipod|walkman|\bnw-[az]|yp-g|\bdap\b|\becho/|alexamedia|aeo[a-z]{2}|sonos|smart ?speaker|yandexstation"
    r"|home ?pod|portal\b"
    r"|nest hub|airplay|crosskey|tpapi|kiosk|pos\b|v2_?pro|sunmi|l2s|swan 1|\bpax\b|thermal"
)
_TABLET: Final = AnyOf(
    r"ipad|tablet(?! pc)|kindle|playbook|xoom|pad\b(?!fone)|pad[ _-]?(?:\d|pro|mini|air|se|x)|tab\b|\btab[ _-]?\w"
    r"|\bsm-[tpx]\d{3}"
    r"|\bgt-p\d{4}|\bgt-n(?:5|8)\d{3}|sch-i800|lenovo ?(?:tb|yt|yoga)|nexus (?:7|9|10)\b|pixel c\b|slate|\bstreak"
    r"|transformer|iconia"
    r"|\blg-v\d{3}|\blm-t\d{3}|\bsgp\d{3}|venue|archos ?\d{2,3}|ideatab|inch\b|\bagm3|\bags\d?-|\bbah\d?-|\bjdn\d?-"
    r"|\bcmr-|\bkob\d?-"
    r"|\bscmr-|\bbtk-|\bmrx-|\bmrr-|\bdby-|\bs7-\d\d"
    # makers' numbers: Kindle, Lenovo, Asus, Acer, Vodafone, Huawei
    r"|\b(?:kf[a-z]{2,6}\b|tb-?[x\d]|yt-?[x\dj]|tf[23]\d\d|k0\d\d|p0[01]\w\b|k\d\d[a-z]{1,2}\b|a[1357]-\d{3}"
    r"|b[13]-a?\d\d|vk\d{3}|t1[ -]\d)"
)
_PHONE: Final = AnyOf(
    r"iphone|mobile|phone|dalvik|midp|j2me|symbian|series ?\d0|blackberry|\bbb10|opera mini|opera mobi|ucweb|iemobile"
    r"|windows ce"
    r"|kaios|nokia|samsung|sonyericsson|\blge?[-/ ]|\bmot-|htc|alcatel|huawei|zte|docomo|kddi|up\.(?:browser|link)"
    r"|\bwap|obigo|teleca"
    r"|netfront|maui|mre/|sailfish|tizen|palm|openwave|brew|\bsie-|\bios\b|\bmtk|mocor|profile/|iph\d|fb4a|\boppo"
    r"|\bvivo|xiaomi|redmi"
)
_DESKTOP: Final = AnyOf(
    r"windows|win(?:32|64|9[58]|nt|\d)|macintosh|mac ?os|mac_powerpc|\bmacos|os ?x|x11|cros\b|linux|bsd|sunos|solaris"
    r"|os/2|haiku"
    r"|beos|risc ?os|amiga|\(mac|irix|hp-ux|openvms|x86_64|serenityos|\bmac\d|desktop|syllable|aix\b"
)
_AT_A_DESK: Final = re.compile(r"Windows NT|Windows 9|Win98|Macintosh|X11;(?! U; Android)|CrOS ", re.IGNORECASE)
_MAC: Final = re.compile(r"\((?:x86_64|i386|Power)|Mac")


def device_of(user_agent: str, looked_up: Text) -> Device:
    """The device of a person, given a user agent and what is made of it.

    "other" for televisions, consoles, watches and what names none.
    """
    if "android" in looked_up.lower:
        return _android(user_agent, looked_up)
    if _ELSE.matches(user_agent, looked_up):
        return "other"
    is_windows_phone = "windows phone" in looked_up.lower or "iemobile" in looked_up.lower
    if not is_windows_phone and _AT_A_DESK.search(user_agent):
        return "desktop"
    if _TABLET.matches(user_agent, looked_up):
        return "tablet"
    if "CFNetwork/" in user_agent:  # apps of Apple's systems; those of Macs name the processor
        return "desktop" if _MAC.search(user_agent) else "mobile"
    if _PHONE.matches(user_agent, looked_up):
        return "mobile"
    return "desktop" if _DESKTOP.matches(user_agent, looked_up) else "other"


def _android(user_agent: str, looked_up: Text) -> Device:
    if _ELSE.matches(user_agent, looked_up):
        return "other"
    if _TABLET.matches(user_agent, looked_up):
        return "tablet"
    # browsers on tablets ask for the pages of a desktop; one that names itself in between still says "Mobile"
    if "mobile" in looked_up.lower:
        return "mobile"
    return "tablet" if user_agent.startswith("Mozilla/") and "Safari/" in user_agent else "mobile"
