"""Technical indicators in plain Python, written from their definitions, to compare the values of TA-Lib with.

Welles Wilder, New Concepts in Technical Trading Systems (RSI, ATR, ADX); https://chartschool.stockcharts.com/ for the others.
Each takes the columns of a window of candles and returns the value at the last candle.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev

Numbers = Sequence[float]


def smoothed(values: Numbers, period: int, weight: float) -> list[float]:
    """Exponential smoothing: the mean of the first `period` values, then each value with `weight`."""
    out = [fmean(values[:period])]
    for value in values[period:]:
        out.append(out[-1] + weight * (value - out[-1]))
    return out


def ema(values: Numbers, period: int) -> list[float]:
    return smoothed(values, period, 2 / (period + 1))


def sma(close: Numbers, period: int) -> float:
    return fmean(close[-period:])


def macd(close: Numbers, fast: int, slow: int, signal: int) -> tuple[float, float, float]:
    slows = ema(close, slow)
    line = [one - other for one, other in zip(ema(close, fast)[-len(slows) :], slows, strict=True)]
    signals = ema(line, signal)
    return line[-1], signals[-1], line[-1] - signals[-1]


def rsi(close: Numbers, period: int) -> float:
    changes = [new - old for old, new in pairwise(close)]
    gain = smoothed([max(one, 0.0) for one in changes], period, 1 / period)[-1]
    loss = smoothed([max(-one, 0.0) for one in changes], period, 1 / period)[-1]
    return 100 * gain / (gain + loss)


def bands(close: Numbers, period: int, deviations: float) -> tuple[float, float, float]:
    window = close[-period:]
    middle, width = fmean(window), deviations * pstdev(window)
    return middle, middle + width, middle - width


def true_ranges(high: Numbers, low: Numbers, close: Numbers) -> list[float]:
    bars = zip(high[1:], low[1:], close, strict=False)
    return [max(top, before) - min(bottom, before) for top, bottom, before in bars]


def atr(high: Numbers, low: Numbers, close: Numbers, period: int) -> float:
    return smoothed(true_ranges(high, low, close), period, 1 / period)[-1]


def adx(high: Numbers, low: Numbers, close: Numbers, period: int) -> float:
    ups = [new - old for old, new in pairwise(high)]
    downs = [old - new for old, new in pairwise(low)]
    moves = list(zip(ups, downs, strict=True))
    ranges = smoothed(true_ranges(high, low, close), period, 1 / period)
    plus = smoothed([up if up > max(down, 0) else 0.0 for up, down in moves], period, 1 / period)
    minus = smoothed([down if down > max(up, 0) else 0.0 for up, down in moves], period, 1 / period)
    index = [100 * abs(p - m) / (p + m) for p, m, _ in zip(plus, minus, ranges, strict=True)]
    return smoothed(index, period, 1 / period)[-1]


def stochastic(high: Numbers, low: Numbers, close: Numbers, periods: tuple[int, int, int]) -> tuple[float, float]:
    raw, (fast, slow_k, slow_d) = [], periods
    for end in range(fast, len(close) + 1):
        top, bottom = max(high[end - fast : end]), min(low[end - fast : end])
        raw.append(100 * (close[end - 1] - bottom) / (top - bottom))
    lines = [fmean(raw[end - slow_k : end]) for end in range(slow_k, len(raw) + 1)]
    return lines[-1], fmean(lines[-slow_d:])


def typical(high: Numbers, low: Numbers, close: Numbers) -> list[float]:
    return [(h + l + c) / 3 for h, l, c in zip(high, low, close, strict=True)]  # noqa: E741 - the usual names


def cci(high: Numbers, low: Numbers, close: Numbers, period: int) -> float:
    window = typical(high, low, close)[-period:]
    mean = fmean(window)
    return (window[-1] - mean) / (0.015 * fmean(abs(one - mean) for one in window))


def mfi(high: Numbers, low: Numbers, close: Numbers, volume: Numbers, period: int) -> float:
    prices = typical(high, low, close)[-period - 1 :]
    flows = list(zip(pairwise(prices), volume[-period:], strict=True))
    into = sum(new * size for (old, new), size in flows if new > old)
    out = sum(new * size for (old, new), size in flows if new < old)
    return 100 * into / (into + out)


def williams(high: Numbers, low: Numbers, close: Numbers, period: int) -> float:
    top, bottom = max(high[-period:]), min(low[-period:])
    return -100 * (top - close[-1]) / (top - bottom)


def vwap(high: Numbers, low: Numbers, close: Numbers, volume: Numbers) -> float:
    return sum(price * size for price, size in zip(typical(high, low, close), volume, strict=True)) / sum(volume)


def obv(close: Numbers, volume: Numbers) -> float:
    return sum(((new > old) - (new < old)) * size for (old, new), size in zip(pairwise(close), volume[1:], strict=True))


def aroon(high: Numbers, low: Numbers, period: int) -> tuple[float, float]:
    """Aroon up and down; of equal extremes the latest counts."""
    highs, lows = high[-period - 1 :], low[-period - 1 :]
    since_top = highs[::-1].index(max(highs))
    since_bottom = lows[::-1].index(min(lows))
    return 100 * (period - since_top) / period, 100 * (period - since_bottom) / period
