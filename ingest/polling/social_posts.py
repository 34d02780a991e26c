"""Converts posts of a social platform to records: excludes posts by rule, finds the coins of a post, and scores its sentiment.

The rules are the same for every platform. The first reason that applies excludes a post:

- `future`: its time is more than an hour after it was read;
- `repost`: it repeats another author's post (a boost, a forwarded message);
- `bot`: its account is marked as automated;
- `empty`: it has no word beside links, tags and account names;
- `spam`: it has more than ten tags and cashtags, or more than three links;
- `language`: the platform marks a language other than English or, without a mark, the text does not look English;
- `repeated`: its author wrote the same words in another of the last thousand posts;
- `symbol`: it names no coin, and the place where it was found is not about one coin.

The lexicon is English. A score of zero for other languages would distort every mean, so such posts are not stored. A turn may be
repeated, and recent posts are read again, with the same result: of several posts with the same words, the first that was read is
stored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated

from msgspec import DecodeError, Meta, Struct, field
from msgspec.json import decode, encode
from msgspec.structs import force_setattr

from ingest.errors import Reject
from ingest.polling import checked
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import sliced, split
from ingest.polling.provider import Part, PollOptions
from ingest.protocol.decode import Malformed
from ingest.records import MINUTE, SentimentPost
from ingest.text.coin_mentions import COINS, symbols_of
from ingest.text.dates import read_time
from ingest.text.plain_text import is_english, without_links
from ingest.text.sentiment_label import label_of

DAY = 1440 * MINUTE
SWEEP_INTERVAL = 60 * MINUTE  # how often the posts of the whole last day are read again: likes and replies arrive late
MAX_AHEAD = 60 * MINUTE  # tolerance for a wrong clock of the platform
MAX_TAGS, MAX_LINKS = 10, 3  # more are spam
REMEMBERED_TEXTS = 1000  # the recent posts with which a new post is compared
TEXT_CHARACTERS = 5000  # the most that is read and stored of a text
SLICE = 20  # posts that are read before other tasks run: at most 0.2 s
MODERATE_SCORE = "0.5000"  # for a post whose author marks a direction and in which the lexicon finds no sentiment

Moment = Annotated[datetime, Meta(tz=True)]  # a time in JSON, with its zone
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAG = re.compile(r"(?<!\w)[#$][^\W\d_]\w*(?:\.X\b)?")  # StockTwits calls a coin $BTC.X
_MENTION = re.compile(r"(?<!\w)@[\w@.-]+")
_LINK = re.compile(r"https?://", re.IGNORECASE)


class Post(Struct, frozen=True, kw_only=True):
    """One post of a platform. `time` is in microseconds; None means that the platform does not give the value."""

    id: str
    time: int
    text: str  # plain, no HTML
    author: str | None = None
    symbols: tuple[str, ...] = ()  # the coins that the platform assigns, or that its tag or channel is about
    language: str | None = None  # as in en, en-GB, de
    is_bot: bool = False
    is_repost: bool = False
    direction: str | None = None  # positive or negative, as marked by its author
    engagement: int | None = None
    followers: int | None = None  # of its author

    def __post_init__(self) -> None:
        """Cuts a long text. Raises Reject (value) for a value that no column can hold."""
        force_setattr(self, "text", self.text[:TEXT_CHARACTERS])
        checked.native_id(self.id)
        checked.micros(self.time)
        for name in (self.author or "", *self.symbols):
            checked.name(name)
        for count in (self.engagement, self.followers):
            checked.count(count or 0)


class Cursor(Struct):
    """The state between two turns: the newest post of each tag, the time of the last sweep, and the texts of recent posts."""

    read_until: dict[str, int] = {}
    swept_at: int = 0
    first_ids: dict[str, str] = field(default_factory=dict)  # digest of author and words -> id of the first post; also id -> id


class PostFilter:
    """Filters the posts that one turn reads from one platform."""

    def __init__(self, platform: str, options: PollOptions, cursor: str) -> None:
        self._platform = platform
        self._options = options
        self._known = COINS | {asset.symbol for asset in options.assets}
        self._excluded: set[str] = set()
        self._now = 0
        try:
            self._state = decode(cursor, type=Cursor) if cursor else Cursor()
        except DecodeError:  # the format of an older version; posts that are read again are duplicates
            self._state = Cursor()
        self._read_before = dict(self._state.read_until)

    def since(self, tag: str, now: int) -> int:
        """The time back to which posts are read: the newest post of the last turn, or a day before `now` if a sweep is due.

        All times are in microseconds.
        """
        self._now = max(self._now, now)
        if now - self._state.swept_at >= SWEEP_INTERVAL:
            return now - DAY
        return max(self._read_before.get(tag, 0), now - DAY)

    def records(
        self, tag: str, found: Iterable[Post | Malformed], received_at: int
    ) -> Part[list[SentimentPost | Malformed | Filtered]]:
        """What is malformed, a record for each coin of each accepted post, and the number of new posts excluded by each reason."""
        posts, malformed = split((yield from sliced(found, SLICE)))
        records: list[SentimentPost | Malformed | Filtered] = [*malformed]
        reasons: Counter[str] = Counter()
        before = self._read_before.get(tag, 0)
        for number, post in enumerate(sorted(posts, key=lambda post: (post.time, post.id)), 1):
            symbols = self._symbols(post)
            ahead = "future" if post.time > received_at + MAX_AHEAD else ""
            reason = ahead or exclusion_reason(post) or self._repeated(post) or ("" if symbols else "symbol")
            if reason:
                reasons[reason] += post.time > before and self._is_new(post, received_at)
            records += [] if reason else self._records_of(post, symbols, received_at)
            self._state.read_until[tag] = max(self._state.read_until.get(tag, 0), min(post.time, received_at))
            if not number % SLICE:
                yield []
        return records + [Filtered(reason, count) for reason, count in reasons.items() if count]

    def cursor(self) -> str:
        """The cursor for the next turn."""
        state = self._state
        swept = self._now if self._now - state.swept_at >= SWEEP_INTERVAL else state.swept_at
        return encode(Cursor(state.read_until, swept, dict(list(state.first_ids.items())[-REMEMBERED_TEXTS:]))).decode()

    def _is_new(self, post: Post, received_at: int) -> bool:
        """Whether the post was not excluded before. `read_until` does not show that for another tag or for a time ahead."""
        known = post.id in self._excluded or post.id in self._state.first_ids
        self._excluded.add(post.id)
        if post.time > received_at:
            self._state.first_ids[post.id] = post.id
        return not known

    def _symbols(self, post: Post) -> list[str]:
        named = (symbol for symbol in symbols_of(post.text) if symbol in self._known)
        return sorted({*post.symbols, *named})

    def _repeated(self, post: Post) -> str:
        if post.author is None:
            return ""
        digest = sha256(f"{post.author}\n{' '.join(_words(post.text))}".encode()).hexdigest()[:16]
        first = self._state.first_ids.pop(digest, post.id)
        self._state.first_ids[digest] = first  # moved to the end: the oldest entries are dropped first
        return "" if first == post.id else "repeated"

    def _records_of(self, post: Post, symbols: list[str], received_at: int) -> list[SentimentPost]:
        score = _with_direction(self._options.score(post.text), post.direction)
        return [
            SentimentPost(
                platform=self._platform,
                post_id=post.id,
                symbol=symbol,
                time=post.time,
                text=post.text,
                author=post.author,
                score=score,
                label=label_of(score),
                engagement=post.engagement,
                received_at=received_at,
                followers=post.followers,
            )
            for symbol in symbols
        ]


def to_micros(time: Moment) -> int:
    """Microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def read_post_time(text: str) -> int:
    """The microseconds since the epoch of a date in a page or feed. Raises Reject (shape) for text that is no date."""
    if (time := read_time(text)) is None:
        raise Reject(f"{text[:100]!r} is not a time; right would be '2026-04-09T07:01:44+00:00'", reason="shape")
    return time


def exclusion_reason(post: Post) -> str:
    """The reason to exclude a post that follows from the post alone; '' if there is none."""
    language = post.language
    tests = {
        "repost": post.is_repost,
        "bot": post.is_bot,
        "empty": not any(any(map(str.isalpha, word)) for word in _words(_MENTION.sub(" ", _TAG.sub(" ", post.text)))),
        "spam": len(_TAG.findall(post.text)) > MAX_TAGS or len(_LINK.findall(post.text)) > MAX_LINKS,
        "language": not (language.lower().partition("-")[0] == "en" if language else is_english(post.text)),
    }
    return next((reason for reason, met in tests.items() if met), "")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", without_links(text).casefold())


def _with_direction(score: str, direction: str | None) -> str:
    """The score with the sign of the author's mark and the magnitude of the lexicon."""
    if direction is None:
        return score
    size = score.removeprefix("-")
    size = size if label_of(size) == "positive" else MODERATE_SCORE
    return size if direction == "positive" else f"-{size}"
