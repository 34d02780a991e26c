"""The values of indicators: against plain Python on real candles, and that no way to a candle changes them by a bit."""

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
from tests.support import indicators as by_the_book
from tests.support.real_hours import hours, part

WINDOWED = [named for kind in KINDS.values() if (named := parse(example(kind))).window is not None]
LATE = 1_207  # every window is whole by then, and the day has begun


@pytest.fixture(scope="session")
def bars(real: Path) -> Bars:
    return hours(real)


def at(bars: Bars, index: int, *names: str) -> list[Value]:
    """The values of the candle at that index."""
    whole = part(bars, slice(0, index + 1))
    return list(values(whole, [parse(name) for name in names or DEFAULT], int(whole.time[-1])))


def lists(bars: Bars, *names: str) -> list[list[float]]:
    return [list(map(float, getattr(bars, name))) for name in names]


def test_every_kind_has_its_function():
    assert FUNCTIONS.keys() == KINDS.keys()
    assert len(DEFAULT) == len(set(DEFAULT)) == 20


def by_plain(bars: Bars, index: int) -> dict[str, tuple[float, ...]]:
    """What the book says of the candle, of all candles that there are up to it."""
    high, low, close, volume = lists(part(bars, slice(0, index + 1)), "high", "low", "close", "volume")
    day = slice(index - int(bars.time[index] % DAY) // bars.length, None)
    return {
        **{f"SMA_{period}": (by_the_book.sma(close, period),) for period in (20, 50, 200)},
        **{f"EMA_{period}": (by_the_book.ema(close, period)[-1],) for period in (12, 26)},
        "RSI_14": (by_the_book.rsi(close, 14),),
        "MACD_12_26_9": by_the_book.macd(close, 12, 26, 9),
        "BBANDS_20_2": by_the_book.bands(close, 20, 2),
        "ATR_14": (by_the_book.atr(high, low, close, 14),),
        "ADX_14": (by_the_book.adx(high, low, close, 14),),
        "STOCH_14_3_3": by_the_book.stochastic(high, low, close, (14, 3, 3)),
        "CCI_20": (by_the_book.cci(high, low, close, 20),),
        "MFI_14": (by_the_book.mfi(high, low, close, volume, 14),),
        "OBV": (by_the_book.obv(close[day], volume[day]),),
        "VWAP": (by_the_book.vwap(high[day], low[day], close[day], volume[day]),),
        "WILLR_14": (by_the_book.williams(high, low, close, 14),),
        "ROC_10": (100 * (close[-1] / close[-11] - 1),),
        "MOM_10": (close[-1] - close[-11],),
        "STDDEV_20": (pstdev(close[-20:]),),
        "AROON_14": by_the_book.aroon(high, low, 14),
    }


@pytest.mark.parametrize("index", [LATE, LATE + 1, 1_463])
def test_each_default_is_what_the_book_says(bars: Bars, index: int):
    """All candles go into the book's value, a window of them into ours."""
    expected = by_plain(bars, index)
    found = {one.spec.name: one.values for one in at(bars, index)}
    assert found.keys() == expected.keys() == set(DEFAULT)
    for name, said in expected.items():
        assert found[name] == pytest.approx(said, rel=1e-7, abs=1e-6), name


@pytest.mark.parametrize("named", WINDOWED, ids=lambda named: named.name)
def test_a_window_is_as_long_as_it_must_be(bars: Bars, named: IndicatorSpec):
    """Without one of its candles what forgets has no value, or says so; with all before it nothing changes."""
    assert named.window is not None
    end = LATE + 1
    (whole,) = at(part(bars, slice(end - named.window, end)), named.window - 1, named.name)
    assert (len(whole.values), whole.candles) == (len(named.kind.outputs), None)
    if named.window > 1:
        short = at(part(bars, slice(end - named.window + 1, end)), named.window - 2, named.name)
        assert [one.candles for one in short] in ([], [named.window - 1])
    inputs, function = FUNCTIONS[named.kind.name]
    of_all = function(*(getattr(bars, name)[:end] for name in inputs), *named.parameters)
    newest = [np.atleast_1d(one)[-1] for one in (of_all if isinstance(of_all, tuple) else (of_all,))]
    assert whole.values == pytest.approx(newest, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_least_parameters_are_parameters_of_ta_lib(bars: Bars, kind: Kind):
    """It would refuse others with an exception, when the first candle comes."""
    name = "_".join([kind.name, *(f"{one.least:g}" for one in kind.parameters if one.least)])
    (value,) = at(bars, LATE, name)
    assert (len(value.values), value.candles) == (len(kind.outputs), None)
    assert [len(value.values) for value in at(bars, 0, name)] in ([], [len(kind.outputs)])


def test_every_way_to_a_candle_gives_the_same_bits(bars: Bars):
    """Live, each candle is computed when it closes, of what `before` says; a backfill computes many; here all at once."""
    since, wanted = LATE, [parse(name) for name in DEFAULT]
    once = list(values(bars, wanted, int(bars.time[since])))

    def told(first: int, end: int) -> list[Value]:
        """Of the candles from `first` to `end`, read as the store reads them."""
        minute = int(bars.time[first])
        return list(values(part(bars, slice(first - candles_before(wanted, bars.length, minute), end)), wanted, minute))

    live = [value for index in range(since, len(bars.time)) for value in told(index, index + 1)]
    some = told(since, since + 100)
    assert live == once
    assert some == once[: len(some)]
    assert len(once) == 20 * (len(bars.time) - since)


def test_a_candle_bears_on_no_more_later_ones_than_is_said(bars: Bars):
    """Another price and volume, in the middle of a day: what follows after that many candles stays as it was."""
    wanted = [parse(name) for name in ("SMA_20", "RSI_3", "MACD_3_5_2", "STOCH_14_3_3", "VWAP", "OBV")]
    changed = replace(bars, close=bars.close.copy(), high=bars.high.copy(), volume=bars.volume * 1.0)
    changed.close[LATE] *= 1.01
    changed.high[LATE] *= 1.02
    changed.volume[LATE] *= 2
    borne = candles_after(wanted, bars.length, int(bars.time[LATE]))
    old, new = (list(values(one, wanted, int(bars.time[LATE + borne]))) for one in (bars, changed))
    assert old[len(wanted) :] == new[len(wanted) :]
    assert old[: len(wanted)] != new[: len(wanted)]


def test_what_is_of_the_day_begins_at_midnight(bars: Bars):
    first = next(index for index in range(LATE, LATE + 24) if bars.time[index] % DAY == 0)
    high, low, close, volume = lists(bars, "high", "low", "close", "volume")
    vwap, obv = at(bars, first, "VWAP", "OBV")
    assert vwap.values == pytest.approx((fmean([high[first], low[first], close[first]]),), rel=1e-12)
    assert obv.values == (0,)
    second = at(bars, first + 1, "VWAP", "OBV")
    assert second == at(part(bars, slice(first, None)), 1, "VWAP", "OBV")
    assert second[1].values == (volume[first + 1] if close[first + 1] > close[first] else -volume[first + 1],)
    assert [one.candles for one in second] == [None, None]
    assert [one.candles for one in at(part(bars, slice(first + 1, None)), 1, "VWAP", "OBV")] == [2, 2]


def test_with_a_period_it_is_of_the_last_candles(bars: Bars):
    high, low, close, volume = lists(part(bars, slice(LATE - 4, LATE + 1)), "high", "low", "close", "volume")
    vwap, obv = at(bars, LATE, "VWAP_5", "OBV_4")
    assert vwap.values == pytest.approx((by_the_book.vwap(high, low, close, volume),), rel=1e-12)
    assert obv.values == pytest.approx((by_the_book.obv(close, volume),), rel=1e-12)


def test_a_hole_of_a_few_candles_is_stepped_over_and_after_a_longer_one_the_series_begins_anew(bars: Bars):
    earlier = list(range(LATE))
    short, long = (part(bars, [*earlier, *range(LATE + MAX_GAP_CANDLES + more, 1_464)]) for more in (0, 1))
    sma, rsi = at(short, LATE, "SMA_20", "RSI_14")
    close = [float(one) for one in short.close[LATE - 19 : LATE + 1]]
    assert (sma.values, sma.candles) == ((pytest.approx(fmean(close)),), None)
    assert (len(rsi.values), rsi.candles) == (1, None)
    assert at(long, LATE, "SMA_20", "RSI_14") == []
    sma, rsi = at(long, LATE + 19, "SMA_20", "RSI_14")
    assert (len(sma.values), sma.candles) == (1, None)
    assert (len(rsi.values), rsi.candles) == (1, 20)


def test_a_coin_of_a_tiny_price_has_the_same_shape(bars: Bars):
    """TA-Lib takes a variance below 1e-14 and a flow of money below 1 for nothing."""
    tiny = replace(bars, **{name: getattr(bars, name) / 2.0**60 for name in ("open", "high", "low", "close")})
    for one, other in zip(at(bars, LATE), at(tiny, LATE), strict=True):
        scale = 2.0**60 if one.spec.kind.price else 1.0
        assert one.values == tuple(scale * value for value in other.values), one.spec.name
        assert any(other.values), one.spec.name


def test_what_has_no_value_is_said_to_have_none(bars: Bars):
    still = replace(bars, volume=np.zeros_like(bars.volume))
    assert [one.values for one in at(still, LATE, "VWAP", "VWMA_20", "OBV", "SMA_20")][:2] == [(), ()]
    assert [len(one.values) for one in at(still, LATE, "OBV", "SMA_20")] == [1, 1]


def test_the_first_candle_of_a_series_has_only_what_one_candle_makes(bars: Bars):
    assert [one.spec.name for one in at(bars, 0)] == ["OBV", "VWAP"]
