"""Computes the values of indicators over candles with TA-Lib. https://ta-lib.org/functions/

Each value is computed from its own window alone, so rounding errors of a running sum cannot make two computations of the same
candle differ (a call costs 1 to 7 us). If the window has fewer candles, because the series starts there or continues after a gap,
a recursive average still has a value, and the row records the number of candles.

TA-Lib treats values below 1e-14, and a money flow below 1, as zero: coins with small prices would have no volatility and no MFI.
Prices are therefore scaled by a power of two, which is exact in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import talib
from msgspec import Struct
from numpy.typing import NDArray

from ingest.indicators.names import DAY, MAX_GAP_CANDLES, IndicatorSpec

Floats = NDArray[np.float64]
Function = Callable[..., object]

SCALE = 2.0**40  # of prices
LARGEST = 1e36  # the table accepts only smaller values
_PLAIN: Any = 0  # MA_Type.SMA, which TA-Lib's annotations do not export
_EXPONENTIAL: Any = 1  # MA_Type.EMA


class Bars(Struct, frozen=True):
    """Candles of one series, ordered by time. `time` is in minutes since the epoch; `length` is the interval, in minutes."""

    length: int
    time: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class Value(Struct, frozen=True, gc=False):
    """One indicator at one candle: a value for each output of its kind, or no values if the formula is undefined.

    `candles` is the number of candles used, if it is less than the full window.
    """

    time: int  # minutes since the epoch
    spec: IndicatorSpec
    values: tuple[float, ...]
    candles: int | None = None


# --- the functions ------------------------------------------------------------------------------------------------------


def _bands(close: Floats, period: int, deviations: float) -> object:
    upper, middle, lower = talib.BBANDS(close, period, deviations, deviations)
    return middle, upper, lower


def _aroon(high: Floats, low: Floats, period: int) -> object:
    down, up = talib.AROON(high, low, period)
    return up, down


def _vwma(close: Floats, volume: Floats, period: int) -> object:
    return _ratio((close * volume)[-period:], volume[-period:]) if len(close) >= period else np.nan


def _vwap(high: Floats, low: Floats, close: Floats, volume: Floats, period: int) -> object:
    return _ratio((high + low + close) / 3 * volume, volume) if len(close) >= period else np.nan


def _ratio(weighed: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float(weighed.sum()) / total if total else np.nan


def _obv(close: Floats, volume: Floats, period: int) -> object:
    """The volume of candles that close higher than the previous one, minus that of candles that close lower."""
    rose = np.sign(np.diff(close))
    return (rose * volume[1:]).sum() if len(rose) >= period else np.nan


_CLOSE, _RANGE, _BAR = ("close",), ("high", "low"), ("high", "low", "close")
FUNCTIONS: dict[str, tuple[tuple[str, ...], Function]] = {  # by kind: the columns it reads, and the function for its values
    **{
        name: (_CLOSE, getattr(talib, name))
        for name in (
            *("SMA", "EMA", "WMA", "DEMA", "TEMA", "TRIMA", "LINEARREG", "LINEARREG_SLOPE", "STDDEV"),
            *("RSI", "CMO", "MACD", "TRIX", "ROC", "MOM", "STOCHRSI"),
        )
    },
    **{name: (_RANGE, getattr(talib, name)) for name in ("MIDPRICE", "AROONOSC")},
    **{
        name: (_BAR, getattr(talib, name))
        for name in ("ATR", "NATR", "TRANGE", "ADX", "DX", "PLUS_DI", "MINUS_DI", "CCI", "WILLR", "ULTOSC")
    },
    **{name: ((*_BAR, "volume"), getattr(talib, name)) for name in ("MFI", "ADOSC")},
    "AROON": (_RANGE, _aroon),
    "BBANDS": (_CLOSE, _bands),
    "BOP": (("open", *_BAR), talib.BOP),
    "OBV": (("close", "volume"), _obv),
    "PPO": (_CLOSE, lambda close, fast, slow: talib.PPO(close, fast, slow, _EXPONENTIAL)),  # as in MACD
    "STOCH": (
        _BAR,
        lambda high, low, close, fast, k, d: talib.STOCH(high, low, close, fast, k, _PLAIN, d, _PLAIN),
    ),
    "VWAP": ((*_BAR, "volume"), _vwap),
    "VWMA": (("close", "volume"), _vwma),
}


# --- values -------------------------------------------------------------------------------------------------------------


def values(bars: Bars, specs: Sequence[IndicatorSpec], since: int) -> Iterator[Value]:
    """Every indicator at every candle from `since` on that has enough candles before it, in the order of the candles.

    `since` is in minutes since the epoch. `bars` must begin `candles_before` candles before it, or with the series.
    """
    begins = _segment_starts(bars)
    midnights = np.searchsorted(bars.time, bars.time - bars.time % DAY)
    columns = {name: getattr(bars, name) * SCALE for name in ("open", *_BAR)} | {"volume": bars.volume}
    prepared = [(spec, *_prepared(spec, columns)) for spec in specs]
    for at in range(int(np.searchsorted(bars.time, since)), len(bars.time)):
        time, begin, midnight = int(bars.time[at]), int(begins[at]), int(midnights[at])
        from_midnight = bool(bars.time[begin] <= time - time % DAY)
        for spec, function, inputs in prepared:
            start = midnight if spec.window is None else at + 1 - spec.window
            result = _last(function(*(column[max(start, begin) : at + 1] for column in inputs), *spec.parameters))
            if spec.kind.price:
                result = tuple(value / SCALE for value in result)
            if not all(abs(value) < LARGEST for value in result):  # false for NaN as well
                if start >= begin:
                    yield Value(time, spec, ())
            elif start >= begin and (from_midnight or spec.window is not None):
                yield Value(time, spec, result)
            else:
                yield Value(time, spec, result, at + 1 - begin)


def _segment_starts(bars: Bars) -> NDArray[np.int64]:
    """For each candle the index of the first candle after the last long gap: no window reaches over such a gap."""
    after_gap = np.diff(bars.time, prepend=bars.time[:1]) > (MAX_GAP_CANDLES + 1) * bars.length
    begins: NDArray[np.int64] = np.maximum.accumulate(np.where(after_gap, np.arange(len(bars.time)), 0))
    return begins


def _prepared(spec: IndicatorSpec, columns: dict[str, Floats]) -> tuple[Function, list[Floats]]:
    names, function = FUNCTIONS[spec.kind.name]
    return function, [columns[name] for name in names]


def _last(result: object) -> tuple[float, ...]:
    """The last element of each array that a function returns, or the number itself."""
    if isinstance(result, tuple):
        return tuple(float(array[-1]) for array in result)
    return (float(result[-1]),) if isinstance(result, np.ndarray) else (float(result),)  # type: ignore[arg-type]
