"""Coins that a text names, and coins of an exchange's announcement: ambiguous names and symbols."""

from __future__ import annotations

import pytest

from ingest.text.coin_mentions import listed_symbols, symbols_of


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Bitcoin, ethereum and SOLANA", "BTC ETH SOL"),
        ("Ether, ETH and bitcoins", "ETH"),
        ("Bitcoin Cash forks, Ethereum Classic does not", "BCH ETC"),
        ("One near link: gas fees fall, sui generis", ""),
        ("Bitcoin Near Record High, One Link to Optimism", "BTC"),  # a headline with a capital in each word
        ("NEAR and SUI rally, ONE and GAS do not, LINK waits", "GAS LINK NEAR ONE SUI"),
        ("BITCOIN ONE MORE TIME NEAR ITS HIGH", "BTC"),  # a text in capitals: words are no symbols
        ("$ONE and $NEAR gain, $LINK and $btc as well", "BTC LINK NEAR ONE"),
        ("$MOODENG and $TSLA", "MOODENG TSLA"),  # a $ makes any capitals a symbol
        ("US$5 million, $USD, A$7, $5M and $one", "ONE"),
        ("The US DOT, an APT group, stablecoins ETC and OP-eds", ""),
        ("Polkadot's (DOT) and Aptos (APT); $OP", "APT DOT OP"),
        ("An Avalanche of Liquidations, a ripple effect", ""),
        ("Avalanche and Ripple settle", "AVAX XRP"),
        ("USDT depegs", "USDT"),
        ("Bitcoin Cash App integration goes live, Ether.fi launches a card, Ripple effects felt", "BTC"),
        ("", ""),
    ],
)
def test_coins_are_found_by_name_and_words_are_no_tickers(text: str, symbols: str) -> None:
    assert symbols_of(text) == tuple(symbols.split())


@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("OKX to list Virtuals Protocol (VIRTUAL) for spot trading", "VIRTUAL"),
        ("Binance Futures Will Launch USDⓈ-Margined OLUSDT Perpetual Contract (2025-06-25)", "OL"),
        ("Binance Futures Will Launch Coin-Margined FTM Perpetual Contracts with Up to 20X Leverage", "FTM"),
        ("Binance Adds SHIB/DOGE Trading Pair", "SHIB"),
        ("Binance Will Delist ALCX, ARDR, NFP, POND on 2026-07-10", "ALCX ARDR NFP POND"),
        ("Binance Futures Will Launch 1000PEPEUSDT and OUSDT", "O PEPE"),
        ("币安将为ACT，BLUR添加观察标签（2026/06/18）", "ACT BLUR"),
        ("Completion of X Layer Mainnet Upgrade", ""),
        ("OKX API and VIP update: USDⓈ UM contracts, EUR and USDT", ""),
        ("Binance Will List Ripple USD (RLUSD)", "RLUSD"),
        ("Notice on FDUSD Pairs; Binance Will Delist TUSD and PYUSD", "PYUSD TUSD"),
        ("Binance Adds BNB, FDUSD & TRY Pairs: BTCUSD, SOLFDUSD", "BNB BTC SOL"),
        ("OKX to list X/USDT, ABC-USDT-SWAP for EEA users in Q3 2026, ERC-20 & BEP20", "ABC"),
    ],
)
def test_an_announcement_is_of_the_coins_in_capitals(title: str, symbols: str) -> None:
    assert listed_symbols(title) == tuple(symbols.split())
