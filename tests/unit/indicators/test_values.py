"""Indicators of real candles equal those of plain Python, and the way in which candles are read does not change a bit of them."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
from msgspec.structs import replace

from ingest.indicators.names import (
    DAY,
    DEFAULT,
    KINDS,
    MAX_GAP_CANDLES,
    IndicatorSpec,
    Kind,
    candles_after,
    candles_before,
    example,
    parse,
)
from ingest.indicators.values import FUNCTIONS, Bars, Value, values
from tests.support import indicators as reference
from tests.support.real_hours import hours, part

WINDOWED = [named for kind in KINDS.values() if (named := parse(example(kind))).window is not None]
LATE = 1_207  # an index at which every window is full and which is within a day


@pytest.fixture(scope="session")
def bars(real: Path) -> Bars:
    return hours(real)


def at(bars: Bars, index: int, *names: str) -> list[Value]:
    """The values of the candle at this index."""
    whole = part(bars, slice(0, index + 1))
    return list(values(whole, [parse(name) for name in names or DEFAULT], int(whole.time[-1])))


def lists(bars: Bars, *names: str) -> list[list[float]]:
    return [list(map(float, getattr(bars, name))) for name in names]


def test_every_kind_has_its_function():
    assert FUNCTIONS.keys() == KINDS.keys()
    assert len(DEFAULT) == len(set(DEFAULT)) == 20


def reference_values(bars: Bars, index: int) -> dict[str, tuple[float, ...]]:
    """The values of the candle at this index by plain Python, computed from all candles up to it."""
    high, low, close, volume = lists(part(bars, slice(0, index + 1)), "high", "low", "close", "volume")
    day = slice(index - int(bars.time[index] % DAY) // bars.length, None)
    return {
        **{f"SMA_{period}": (reference.sma(close, period),) for period in (20, 50, 200)},
        **{f"EMA_{period}": (reference.ema(close, period)[-1],) for period in (12, 26)},
        "RSI_14": (reference.rsi(close, 14),),
        "MACD_12_26_9": reference.macd(close, 12, 26, 9),
        "BBANDS_20_2": reference.bands(close, 20, 2),
        "ATR_14": (reference.atr(high, low, close, 14),),
        "ADX_14": (reference.adx(high, low, close, 14),),
        "STOCH_14_3_3": reference.stochastic(high, low, close, (14, 3, 3)),
        "CCI_20": (reference.cci(high, low, close, 20),),
        "MFI_14": (reference.mfi(high, low, close, volume, 14),),
        "OBV": (reference.obv(close[day], volume[day]),),
        "VWAP": (reference.vwap(high[day], low[day], close[day], volume[day]),),
        "WILLR_14": (reference.williams(high, low, close, 14),),
        "ROC_10": (100 * (close[-1] / close[-11] - 1),),
        "MOM_10": (close[-1] - close[-11],),
        "STDDEV_20": (pstdev(close[-20:]),),
        "AROON_14": reference.aroon(high, low, 14),
    }


@pytest.mark.parametrize("index", [LATE, LATE + 1, 1_463])
def test_each_default_equals_plain_python(bars: Bars, index: int):
    """Plain Python reads all candles; `values` reads a window of them."""
    expected = reference_values(bars, index)
    found = {value.spec.name: value.values for value in at(bars, index)}
    assert found.keys() == expected.keys() == set(DEFAULT)
    for name, expected_values in expected.items():
        assert found[name] == pytest.approx(expected_values, rel=1e-7, abs=1e-6), name


@pytest.mark.parametrize("named", WINDOWED, ids=lambda named: named.name)
def test_a_window_is_as_short_as_possible(bars: Bars, named: IndicatorSpec):
    """With a candle less there is no value, or its `candles` reports that; with all candles before it the value is the same."""
    assert named.window is not None
    end = LATE + 1
    (whole,) = at(part(bars, slice(end - named.window, end)), named.window - 1, named.name)
    assert (len(whole.values), whole.candles) == (len(named.kind.outputs), None)
    if named.window > 1:
        short = at(part(bars, slice(end - named.window + 1, end)), named.window - 2, named.name)
        assert [value.candles for value in short] in ([], [named.window - 1])
    inputs, function = FUNCTIONS[named.kind.name]
    of_all = function(*(getattr(bars, name)[:end] for name in inputs), *named.parameters)
    newest = [np.atleast_1d(value)[-1] for value in (of_all if isinstance(of_all, tuple) else (of_all,))]
    assert whole.values == pytest.approx(newest, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_smallest_parameters_are_accepted_by_ta_lib(bars: Bars, kind: Kind):
    """TA-Lib raises an exception for parameters that it does not accept."""
    name = "_".join([kind.name, *(f"{parameter.least:g}" for parameter in kind.parameters if parameter.least)])
    (value,) = at(bars, LATE, name)
    assert (len(value.values), value.candles) == (len(kind.outputs), None)
    assert [len(value.values) for value in at(bars, 0, name)] in ([], [len(kind.outputs)])


def test_values_do_not_depend_on_how_many_candles_are_computed_at_once(bars: Bars):
    """Live, each candle is computed when it closes; a backfill computes many at once."""
    since, specs = LATE, [parse(name) for name in DEFAULT]
    once = list(values(bars, specs, int(bars.time[since])))

    def computed(first: int, end: int) -> list[Value]:
        """The values of the candles from `first` to `end`, from the candles that the store would read."""
        minute = int(bars.time[first])
        return list(values(part(bars, slice(first - candles_before(specs, bars.length, minute), end)), specs, minute))

    live = [value for index in range(since, len(bars.time)) for value in computed(index, index + 1)]
    some = computed(since, since + 100)
    assert live == once
    assert some == once[: len(some)]
    assert len(once) == 20 * (len(bars.time) - since)


def test_a_candle_affects_no_more_later_candles_than_computed(bars: Bars):
    """After a changed price and volume in the middle of a day, the values after that many candles are the same."""
    specs = [parse(name) for name in ("SMA_20", "RSI_3", "MACD_3_5_2", "STOCH_14_3_3", "VWAP", "OBV")]
    changed = replace(bars, close=bars.close.copy(), high=bars.high.copy(), volume=bars.volume * 1.0)
    changed.close[LATE] *= 1.01
    changed.high[LATE] *= 1.02
    changed.volume[LATE] *= 2
    affected = candles_after(specs, bars.length, int(bars.time[LATE]))
    old, new = (list(values(series, specs, int(bars.time[LATE + affected]))) for series in (bars, changed))
    assert old[len(specs) :] == new[len(specs) :]
    assert old[: len(specs)] != new[: len(specs)]


def test_indicators_of_a_day_begin_at_midnight(bars: Bars):
    first = next(index for index in range(LATE, LATE + 24) if bars.time[index] % DAY == 0)
    high, low, close, volume = lists(bars, "high", "low", "close", "volume")
    vwap, obv = at(bars, first, "VWAP", "OBV")
    assert vwap.values == pytest.approx((fmean([high[first], low[first], close[first]]),), rel=1e-12)
    assert obv.values == (0,)
    second = at(bars, first + 1, "VWAP", "OBV")
    assert second == at(part(bars, slice(first, None)), 1, "VWAP", "OBV")
    assert second[1].values == (volume[first + 1] if close[first + 1] > close[first] else -volume[first + 1],)
    assert [value.candles for value in second] == [None, None]
    assert [value.candles for value in at(part(bars, slice(first + 1, None)), 1, "VWAP", "OBV")] == [2, 2]


def test_with_a_period_they_are_of_the_last_candles(bars: Bars):
    high, low, close, volume = lists(part(bars, slice(LATE - 4, LATE + 1)), "high", "low", "close", "volume")
    vwap, obv = at(bars, LATE, "VWAP_5", "OBV_4")
    assert vwap.values == pytest.approx((reference.vwap(high, low, close, volume),), rel=1e-12)
    assert obv.values == pytest.approx((reference.obv(close, volume),), rel=1e-12)


def test_a_gap_of_a_few_candles_is_ignored_and_a_longer_gap_begins_a_new_series(bars: Bars):
    earlier = list(range(LATE))
    short, long = (part(bars, [*earlier, *range(LATE + MAX_GAP_CANDLES + more, 1_464)]) for more in (0, 1))
    sma, rsi = at(short, LATE, "SMA_20", "RSI_14")
    close = [float(price) for price in short.close[LATE - 19 : LATE + 1]]
    assert (sma.values, sma.candles) == ((pytest.approx(fmean(close)),), None)
    assert (len(rsi.values), rsi.candles) == (1, None)
    assert at(long, LATE, "SMA_20", "RSI_14") == []
    sma, rsi = at(long, LATE + 19, "SMA_20", "RSI_14")
    assert (len(sma.values), sma.candles) == (1, None)
    assert (len(rsi.values), rsi.candles) == (1, 20)


def test_values_of_a_coin_with_a_tiny_price_only_differ_by_scale(bars: Bars):
    """TA-Lib alone treats a variance below 1e-14 and a money flow below 1 as zero."""
    tiny = replace(bars, **{name: getattr(bars, name) / 2.0**60 for name in ("open", "high", "low", "close")})
    for computed, other in zip(at(bars, LATE), at(tiny, LATE), strict=True):
        scale = 2.0**60 if computed.spec.kind.price else 1.0
        assert computed.values == tuple(scale * value for value in other.values), computed.spec.name
        assert any(other.values), computed.spec.name


def test_an_indicator_without_a_value_has_an_empty_tuple(bars: Bars):
    still = replace(bars, volume=np.zeros_like(bars.volume))
    assert [value.values for value in at(still, LATE, "VWAP", "VWMA_20", "OBV", "SMA_20")][:2] == [(), ()]
    assert [len(value.values) for value in at(still, LATE, "OBV", "SMA_20")] == [1, 1]


def test_the_first_candle_of_a_series_has_only_indicators_of_one_candle(bars: Bars):
    assert [value.spec.name for value in at(bars, 0)] == ["OBV", "VWAP"]
