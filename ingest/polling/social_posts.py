"""Posts of a social platform, made into records: what is left out, which coins a post is about, and its mood.

The rules are the same for every platform, and a reader can check them. In this order a post is left out as

- `future`: its time is more than an hour after it was read, so that its clock is wrong;
- `repost`: it repeats somebody else's (a boost, a forwarded message);
- `bot`: its account says that a program writes it;
- `empty`: beside links, tags and names of accounts it has no word;
- `spam`: it has more than ten tags and cashtags, or more than three links;
- `language`: the platform calls it something else than English, or where the platform calls it nothing, it does not look like it;
- `repeated`: its author has said the same words in another post, of the last thousand that were read;
- `symbol`: it names no coin, and was found where none is the subject.

The lexicon is English, and a zero for what it cannot read would pull every mean to the middle: so such posts are no rows.
The rule one would get wrong: a turn may be taken again and posts are asked for again while they are young, and what was stored must
come out the same way: of repeated posts the one that was read first stays the one.
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

from ingest.polling.db_queries import Filtered
from ingest.polling.provider import PollOptions
from ingest.records import MINUTE, SentimentPost
from ingest.text.coin_mentions import COINS, symbols_of
from ingest.text.plain_text import is_english, without_links
from ingest.text.sentiment_label import label_of

DAY = 1440 * MINUTE
SWEEP = 60 * MINUTE  # how often the posts of the last day are asked for again: likes and replies come late
AHEAD = 60 * MINUTE  # a post may be from a clock that is so far ahead
TAGS, LINKS = 10, 3  # more are spam
TEXTS = 1000  # whose repetition is noticed
TEXT_CHARACTERS = 5000  # what of a text is stored
MILD = "0.5000"  # the score of a post whose author says which way it leans and in which the lexicon finds nothing

Moment = Annotated[datetime, Meta(tz=True)]  # as JSON has it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAG = re.compile(r"(?<!\w)[#$][^\W\d_]\w*(?:\.X\b)?")  # StockTwits calls a coin $BTC.X
_MENTION = re.compile(r"(?<!\w)@[\w@.-]+")
_LINK = re.compile(r"https?://", re.IGNORECASE)


class Post(Struct, frozen=True, kw_only=True):
    """One post as its platform has it. `time` is in microseconds; None is what the platform does not say."""

    id: str
    time: int
    text: str  # plain, no HTML
    author: str | None = None
    symbols: tuple[str, ...] = ()  # of the tag, stream or channel where it was found
    language: str | None = None  # en, en-GB, de
    is_bot: bool = False
    is_repost: bool = False
    lean: str | None = None  # positive or negative, by its author's own word
    engagement: int | None = None
    followers: int | None = None  # of its author


class Cursor(Struct):
    """What a turn leaves to the next: until when each tag was read, when all of the last day was asked for, what was said."""

    read: dict[str, int] = {}
    swept: int = 0
    texts: dict[str, str] = field(default_factory=dict)  # digest of author and words -> id of the post that said them first; ids


class PostFilter:
    """What one turn reads of one platform."""

    def __init__(self, platform: str, options: PollOptions, cursor: str) -> None:
        self._platform = platform
        self._options = options
        self._known = COINS | {asset.symbol for asset in options.assets}
        self._left_out: set[str] = set()
        self._now = 0
        try:
            self._place = decode(cursor, type=Cursor) if cursor else Cursor()
        except DecodeError:  # of an older version: what is read again is a duplicate
            self._place = Cursor()
        self._before = dict(self._place.read)

    def since(self, tag: str, now: int) -> int:
        """How far back to read: to the last post that was read, or a day where that is due."""
        self._now = max(self._now, now)
        if now - self._place.swept >= SWEEP:
            return now - DAY
        return max(self._before.get(tag, 0), now - DAY)

    def records(self, tag: str, posts: Iterable[Post], received_at: int) -> list[SentimentPost | Filtered]:
        """A record for each coin of each post that is kept, and how many new ones are not, by reason."""
        made: list[SentimentPost | Filtered] = []
        reasons: Counter[str] = Counter()
        before = self._before.get(tag, 0)
        for post in sorted(posts, key=lambda one: (one.time, one.id)):
            symbols = self._symbols(post)
            late = "future" if post.time > received_at + AHEAD else ""
            reason = late or against(post) or self._repeated(post) or ("" if symbols else "symbol")
            if reason:
                reasons[reason] += post.time > before and self._is_news(post, received_at)
            made += [] if reason else self._kept(post, symbols, received_at)
            self._place.read[tag] = max(self._place.read.get(tag, 0), min(post.time, received_at))
        return made + [Filtered(reason, count) for reason, count in reasons.items() if count]

    def cursor(self) -> str:
        """For the next turn."""
        place = self._place
        swept = self._now if self._now - place.swept >= SWEEP else place.swept
        return encode(Cursor(place.read, swept, dict(list(place.texts.items())[-TEXTS:]))).decode()

    def _is_news(self, post: Post, received_at: int) -> bool:
        """Whether it was not left out before, under another tag or with a clock that is ahead: `read` cannot say so of that."""
        known = post.id in self._left_out or post.id in self._place.texts
        self._left_out.add(post.id)
        if post.time > received_at:
            self._place.texts[post.id] = post.id
        return not known

    def _symbols(self, post: Post) -> list[str]:
        named = (symbol for symbol in symbols_of(post.text) if symbol in self._known)
        return sorted({*post.symbols, *named})

    def _repeated(self, post: Post) -> str:
        if post.author is None:
            return ""
        digest = sha256(f"{post.author}\n{' '.join(_words(post.text))}".encode()).hexdigest()[:16]
        first = self._place.texts.pop(digest, post.id)
        self._place.texts[digest] = first  # the latest at the end: the beginning is forgotten
        return "" if first == post.id else "repeated"

    def _kept(self, post: Post, symbols: list[str], received_at: int) -> list[SentimentPost]:
        score = _leaning(self._options.score(post.text), post.lean)
        return [
            SentimentPost(
                platform=self._platform,
                post_id=post.id,
                symbol=symbol,
                time=post.time,
                text=post.text[:TEXT_CHARACTERS],
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
    return (time - _EPOCH) // timedelta(microseconds=1)


def against(post: Post) -> str:
    """Why a post is left out whatever else was said; '' where it is not."""
    language = post.language
    tests = {
        "repost": post.is_repost,
        "bot": post.is_bot,
        "empty": not any(any(map(str.isalpha, word)) for word in _words(_MENTION.sub(" ", _TAG.sub(" ", post.text)))),
        "spam": len(_TAG.findall(post.text)) > TAGS or len(_LINK.findall(post.text)) > LINKS,
        "language": not (language.lower().partition("-")[0] == "en" if language else is_english(post.text)),
    }
    return next((reason for reason, met in tests.items() if met), "")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", without_links(text).casefold())


def _leaning(score: str, lean: str | None) -> str:
    """The author's own word says which way, the lexicon how much."""
    if lean is None:
        return score
    size = score.removeprefix("-")
    size = size if label_of(size) == "positive" else MILD
    return size if lean == "positive" else f"-{size}"
