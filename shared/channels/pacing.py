"""How fast a number may send: policy as data. What is spent of it stands in PostgreSQL, and the claim takes from it
(`claim_messages`).

Every limit has one shape, the generic cell rate algorithm: one message each `every_s` seconds in the long run, and
`burst` at once, borrowed from the time after. Never more than `burst + T / every_s` leave in any T seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final
from urllib.parse import urlsplit

from shared.channels.channel import Pacing
from shared.channels.registry import channel_named
from shared.settings import Settings

WHATSAPP_WEB: Final = "https://web.whatsapp.com/"
DAY_S: Final = 86400.0
"""Seconds of the window of a daily ceiling: any 24 hours, not a calendar day."""
PAGE_PER_SECOND: Final = 300.0
"""Rate of the Send API for one Page or Instagram account."""
COEXISTENCE_PER_SECOND: Final = 20.0
"""Meta's fixed rate for a number that is also used in the WhatsApp Business app."""
PAIR_EVERY_S: Final = 6.0
PAIR_BURST: Final = 45.0
"""Meta: one message each 6 s to one user, 45 borrowed from the time after."""
_META_BURST_S: Final = 0.05
"""A number's burst: what it may send in this time. More would send the rest of the second's messages too early."""
_BROWSER_JITTER: Final = 0.5
"""Part of a browser session's interval by which each message costs more or less: an even rhythm is not a human one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PacingLimits:
    """What one number may send; zero seconds are no limit.

    Attributes:
        every_s, burst: of the number itself. jitter: part of `every_s` by which each message costs more or less, at
            random. day_every_s, day_burst: its ceiling for a day. pair_every_s, pair_burst: to one chat.
    """

    every_s: float = 0.0
    burst: float = 1.0
    jitter: float = 0.0
    day_every_s: float = 0.0
    day_burst: float = 1.0
    pair_every_s: float = 0.0
    pair_burst: float = 1.0


NO_LIMITS: Final = PacingLimits()


def limits_of(settings: Settings, connection_type: str, options: Mapping[str, Any]) -> PacingLimits:
    """Return what a connection may send.

    Args:
        options: the connection's own: `messages_per_second` or `coexistence` and `pair_limit` on Meta's channels,
            `messages_per_minute` and `messages_per_day` of a browser session. What cannot be read counts as not given.
    """
    return _POLICIES[channel_named(connection_type).pacing](settings, options)


def _none(_: Settings, __: Mapping[str, Any]) -> PacingLimits:
    return NO_LIMITS


def _meta(settings: Settings, options: Mapping[str, Any]) -> PacingLimits:
    usual = COEXISTENCE_PER_SECOND if options.get("coexistence") is True else settings.meta_messages_per_second
    per_second = _number(options.get("messages_per_second"), usual)
    has_pair_limit = options.get("pair_limit", settings.meta_pair_limit == "on") is not False
    return PacingLimits(
        every_s=1 / per_second if per_second else 0.0,
        burst=max(1.0, per_second * _META_BURST_S // 1),
        # rate 0 means no limits at all, so none for a pair either
        pair_every_s=PAIR_EVERY_S if has_pair_limit and per_second else 0.0,
        pair_burst=PAIR_BURST,
    )


def _page(_: Settings, options: Mapping[str, Any]) -> PacingLimits:
    per_second = _number(options.get("messages_per_second"), PAGE_PER_SECOND)
    return PacingLimits(every_s=1 / per_second if per_second else 0.0, burst=max(1.0, per_second * _META_BURST_S // 1))


def spares_the_account(settings: Settings) -> bool:
    """Return whether browser sessions are held to a human pace: by default only where an account can be banned, at
    WhatsApp itself."""
    if settings.webdriver_pacing == "auto":
        return urlsplit(settings.whatsapp_web_url or WHATSAPP_WEB).hostname == urlsplit(WHATSAPP_WEB).hostname
    return settings.webdriver_pacing == "on"


def _browser(settings: Settings, options: Mapping[str, Any]) -> PacingLimits:
    if not spares_the_account(settings):
        return NO_LIMITS
    per_minute = _number(options.get("messages_per_minute"), settings.webdriver_messages_per_minute)
    per_day = _number(options.get("messages_per_day"), float(settings.webdriver_messages_per_day))
    # half of the ceiling at once and half over the day: never more than the ceiling in any 24 hours
    half = per_day / 2
    return PacingLimits(
        every_s=60 / per_minute if per_minute else 0.0,
        burst=float(settings.webdriver_burst),
        jitter=_BROWSER_JITTER,
        day_every_s=DAY_S / half if half else 0.0,
        day_burst=max(1.0, half),
    )


def _number(given: Any, usual: float) -> float:
    # options stand in a row of the database and may hold anything; a mistake there must not stop a connection
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and isfinite(given) and given >= 0
    return float(given) if is_number else usual


_POLICIES: Final[Mapping[Pacing, Callable[[Settings, Mapping[str, Any]], PacingLimits]]] = {
    "none": _none,
    "meta_number": _meta,
    "page": _page,
    "browser_session": _browser,
}
