"""Which coins a text names: rules that a reader can check, for news and posts alike.

Names count in any case; a ticker only in capitals, and where it is an English word (ONE, NEAR, LINK) only behind a `$`.
"""

from __future__ import annotations

import re

_NAMES = {
    "aave": "AAVE",
    "avalanche": "AVAX",
    "bitcoin": "BTC",
    "cardano": "ADA",
    "chainlink": "LINK",
    "dogecoin": "DOGE",
    "ether": "ETH",
    "ethereum": "ETH",
    "litecoin": "LTC",
    "polkadot": "DOT",
    "ripple": "XRP",
    "solana": "SOL",
    "tether": "USDT",
    "uniswap": "UNI",
}
_TICKERS = ("ADA", "AVAX", "BNB", "BTC", "DOGE", "ETH", "LTC", "SOL", "TRX", "USDC", "USDT", "XLM", "XRP")
_NAMED = re.compile(rf"\b({'|'.join(sorted(_NAMES, key=len, reverse=True))})\b", re.IGNORECASE)
_TICKED = re.compile(rf"\$([A-Z]{{2,6}})\b|\b({'|'.join(_TICKERS)})\b")


def symbols_of(text: str) -> tuple[str, ...]:
    """The coins that a text names, sorted."""
    named = {_NAMES[name.lower()] for name in _NAMED.findall(text)}
    return tuple(sorted(named | {cashtag or ticker for cashtag, ticker in _TICKED.findall(text)}))
