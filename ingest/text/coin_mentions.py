"""Finds the coins that a news article or a social media post names.

A coin's name counts in any case. A name that is also an English word ("Avalanche", "Ripple") counts only with a capital; some of
them ("Near", "Link", "Optimism") never count, because headlines capitalise every word. A ticker counts in capitals. A ticker that
is also a word (ONE, NEAR, GAS, LINK, SUI) does not count in a text that is all in capitals; a ticker that is also an abbreviation
(DOT, APT, ETC, OP) counts only in parentheses. After a `$` every known ticker counts in any case, and so does any other word in
capitals except a currency code.
"""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NAMES = {
    "aave": "AAVE",
    "algorand": "ALGO",
    "aptos": "APT",
    "arbitrum": "ARB",
    "avalanche network": "AVAX",
    "binance coin": "BNB",
    "bitcoin": "BTC",
    "bitcoin cash": "BCH",
    "bittensor": "TAO",
    "cardano": "ADA",
    "celestia": "TIA",
    "chainlink": "LINK",
    "cosmos hub": "ATOM",
    "dogecoin": "DOGE",
    "ether": "ETH",
    "ethereum": "ETH",
    "ethereum classic": "ETC",
    "filecoin": "FIL",
    "hedera": "HBAR",
    "hyperliquid": "HYPE",
    "injective": "INJ",
    "internet computer": "ICP",
    "litecoin": "LTC",
    "makerdao": "MKR",
    "monero": "XMR",
    "near protocol": "NEAR",
    "polkadot": "DOT",
    "shiba inu": "SHIB",
    "solana": "SOL",
    "stellar lumens": "XLM",
    "tether": "USDT",
    "tezos": "XTZ",
    "the graph protocol": "GRT",
    "toncoin": "TON",
    "uniswap": "UNI",
    "usd coin": "USDC",
    "vechain": "VET",
    "worldcoin": "WLD",
    "zcash": "ZEC",
}
_CAPITAL_NAMES = {"Avalanche": "AVAX", "Pepe": "PEPE", "Polygon": "POL", "Ripple": "XRP", "Sui": "SUI", "Tron": "TRX"}
_TICKERS = _set(
    "AAVE ADA ALGO ARB ATOM AVAX BCH BNB BONK BTC CRV DOGE ENA ETH FIL GRT HBAR ICP INJ LDO LTC MKR ONDO PEPE POL SHIB SOL STX TAO"
    " TIA TRX UNI USDC USDT VET WIF WLD XLM XMR XRP XTZ ZEC"
)
_WORDS = _set("CAKE DASH FLOW GAS HOT HYPE JUP LINK MASK NEAR ONE RUNE SAND SEI SUI TON")
_ABBREVIATIONS = _set("ACT AI APT BAT COMP DOT EOS ETC KEY OP TRUMP WIN")
_FIAT = _set("AUD CAD CHF CNY EUR GBP HKD JPY KRW NZD SGD TRY US USD")

_NAMED = re.compile(rf"\b({'|'.join(sorted(_NAMES, key=len, reverse=True))})\b(?!\.fi\b| app\b)", re.IGNORECASE)
_CAPITAL_NAMED = re.compile(rf"\b({'|'.join(_CAPITAL_NAMES)})\b(?! of\b| effects?\b)")  # "An Avalanche of Liquidations"
_CASHTAG = re.compile(r"\$([A-Za-z]{2,10})\b")
_CAPITALS = re.compile(r"(?<![\w$])[A-Z]{2,5}\b")
_PARENTHESES = re.compile(r"\(\$?([A-Z][A-Z0-9]{1,9})\)")
_LISTED = re.compile(r"(?<![A-Za-z0-9])(?:1000+)?([A-Z0-9]{2,15})(?:/[A-Z]{2,6})?(?![A-Za-z0-9])")  # no \b: Chinese is \w too
_QUOTE = re.compile(r"(?:(?<=.)(?:USDT|USDC)|(?<=..)FDUSD|(?<=...)USD)\Z")  # TUSD, PYUSD and RLUSD are coins
_NUMBER = re.compile(r"[0-9]+X?|Q[1-4]|(?:BEP|BRC|ERC|TRC)[0-9]*")  # a year, a leverage, a quarter, a standard
_NO_COINS = _FIAT | _set("AMA API APP CM COIN DEFI EEA ETF FAQ FDUSD KYC NFT OKX P2P SWAP TGE UM USDT USDC UTC VIP")
_KNOWN = _TICKERS | _WORDS | _ABBREVIATIONS
COINS = _KNOWN | {*_NAMES.values(), *_CAPITAL_NAMES.values()}  # all that `symbols_of` finds, except other words after a `$`


def symbols_of(text: str) -> tuple[str, ...]:
    """The symbols of the coins that a text names, sorted."""
    found = {_NAMES[name.lower()] for name in _NAMED.findall(text)}
    found |= {_CAPITAL_NAMES[name] for name in _CAPITAL_NAMED.findall(text)}
    found |= {tag.upper() for tag in _CASHTAG.findall(text) if tag.upper() in _KNOWN or (tag.isupper() and tag not in _FIAT)}
    found |= _KNOWN.intersection(_PARENTHESES.findall(text))
    capitals = _TICKERS if text.isupper() else _TICKERS | _WORDS
    return tuple(sorted(found | capitals.intersection(_CAPITALS.findall(text))))


def listed_symbols(title: str) -> tuple[str, ...]:
    """The coins in the title of an exchange's announcement, sorted: words in capitals, known or not; of a pair, its base."""
    found = {_QUOTE.sub("", word) for word in _LISTED.findall(title)}
    return tuple(sorted(word for word in found - _NO_COINS if not _NUMBER.fullmatch(word)))
