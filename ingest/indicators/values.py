"""The values of indicators over candles, by TA-Lib. Pure. https://ta-lib.org/functions/

Each value is computed by itself, of its own window alone: what a running sum rounds off on its way cannot make two ways to the same
candle differ (a call costs 1 to 7 us). Where the candles of a window are fewer, because the series begins there or goes on after a
hole, an average that feeds on itself has a value all the same, and the row says of how many candles.
The rule one would get wrong: TA-Lib takes for nothing what is below 1e-14, and a flow of money below 1, so that coins of small
prices would have no volatility and no MFI. So it is given prices of another scale; a power of two is exact in both directions.
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
LARGEST = 1e36  # what the table takes
_PLAIN: Any = 0  # MA_Type.SMA, which TA-Lib's annotations do not export
_EXPONENTIAL: Any = 1  # MA_Type.EMA


class Bars(Struct, frozen=True):
    """Candles of one series in the order of time, which is in minutes since the epoch; `length` is an interval's, in minutes."""

    length: int
    time: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class Value(Struct, frozen=True, gc=False):
    """One indicator at one candle: its values by the names of its kind, or none where the formula has none.

    `candles` is of how many it is made, where those are fewer than settle it.
    """

    time: int  # minutes since the epoch
    named: IndicatorSpec
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
    """The volume of candles that rose, less that of candles that fell, against the close before."""
    rose = np.sign(np.diff(close))
    return (rose * volume[1:]).sum() if len(rose) >= period else np.nan


_CLOSE, _RANGE, _BAR = ("close",), ("high", "low"), ("high", "low", "close")
FUNCTIONS: dict[str, tuple[tuple[str, ...], Function]] = {  # of each kind: what it reads, and what makes its values
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
    "PPO": (_CLOSE, lambda close, fast, slow: talib.PPO(close, fast, slow, _EXPONENTIAL)),  # as MACD has them
    "STOCH": (
        _BAR,
        lambda high, low, close, fast, k, d: talib.STOCH(high, low, close, fast, k, _PLAIN, d, _PLAIN),
    ),
    "VWAP": ((*_BAR, "volume"), _vwap),
    "VWMA": (("close", "volume"), _vwma),
}


# --- values -------------------------------------------------------------------------------------------------------------


def values(bars: Bars, wanted: Sequence[IndicatorSpec], since: int) -> Iterator[Value]:
    """Every indicator at every candle from `since` on for which there are enough, in the order of the candles.

    The bars begin as far before `since` as `before` says, or with the series.
    """
    begins = _begins(bars)
    midnights = np.searchsorted(bars.time, bars.time - bars.time % DAY)
    columns = {name: getattr(bars, name) * SCALE for name in ("open", *_BAR)} | {"volume": bars.volume}
    made = [(one, *_prepared(one, columns)) for one in wanted]
    for at in range(int(np.searchsorted(bars.time, since)), len(bars.time)):
        time, begin, midnight = int(bars.time[at]), int(begins[at]), int(midnights[at])
        from_midnight = bool(bars.time[begin] <= time - time % DAY)
        for named, function, inputs in made:
            start = midnight if named.window is None else at + 1 - named.window
            result = _last(function(*(column[max(start, begin) : at + 1] for column in inputs), *named.parameters))
            if named.kind.price:
                result = tuple(one / SCALE for one in result)
            if not all(abs(one) < LARGEST for one in result):  # no number is not, either
                if start >= begin:
                    yield Value(time, named, ())
            elif start >= begin and (from_midnight or named.window is not None):
                yield Value(time, named, result)
            else:
                yield Value(time, named, result, at + 1 - begin)


def _begins(bars: Bars) -> NDArray[np.int64]:
    """For each candle the index of the first that a window may hold: there is no hole between the two."""
    after_hole = np.diff(bars.time, prepend=bars.time[:1]) > (MAX_GAP_CANDLES + 1) * bars.length
    begins: NDArray[np.int64] = np.maximum.accumulate(np.where(after_hole, np.arange(len(bars.time)), 0))
    return begins


def _prepared(named: IndicatorSpec, columns: dict[str, Floats]) -> tuple[Function, list[Floats]]:
    names, function = FUNCTIONS[named.kind.name]
    return function, [columns[name] for name in names]


def _last(made: object) -> tuple[float, ...]:
    """The newest of what a function made: of each array its last, or a number by itself."""
    if isinstance(made, tuple):
        return tuple(float(one[-1]) for one in made)
    return (float(made[-1]),) if isinstance(made, np.ndarray) else (float(made),)  # type: ignore[arg-type]
