"""The indicators and their names: `SMA_20`, `MACD_12_26_9`, `VWAP`. This module is cheap to import: it does not load TA-Lib.

A name is the kind and its parameters in TA-Lib's order (https://ta-lib.org/functions/); omitted parameters have their defaults.

A recursive average (EMA, Wilder's) depends on where it starts. So every value is computed from a window of fixed length that ends
with its candle. The window is so long that its start has less than `REMAINDER` of the weight. The value is then the same whether
it is computed live, after a restart or over a past range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from ingest.records import INTERVALS, MINUTE

REMAINDER = 1e-9
DAY = INTERVALS["1d"] // MINUTE  # in minutes
MAX_GAP_CANDLES = 30  # missing candles in a row; after a longer gap the series starts again
MAX_WINDOW = 5_000  # candles; longer windows cost too much to read for each candle
MAX_PARAMETER = 1_000  # the largest value of any parameter

_NAME = re.compile(r"([A-Z][A-Z_]*?)((?:_\d+(?:\.\d+)?)*)")


class Parameter(Struct, frozen=True):
    """One number in a name, and its default and minimum. Periods are counted in candles."""

    name: str
    default: float
    least: float = 2
    whole: bool = True


class Kind(Struct, frozen=True):
    """One kind of indicator. `outputs` are the names of its values; the first is the row's `value`.

    `window` returns the number of candles for one value, given the parameters; None means all candles since midnight UTC. `price`
    means that the values scale with the prices.
    """

    name: str
    parameters: tuple[Parameter, ...]
    window: Callable[..., int | None]
    outputs: tuple[str, ...] = ("value",)
    price: bool = False


class IndicatorSpec(Struct, frozen=True):
    """One indicator with its parameters. `window` is the number of candles for one value; None: all since midnight UTC."""

    name: str
    kind: Kind
    parameters: tuple[float, ...]  # whole ones are integers
    window: int | None


# --- windows ------------------------------------------------------------------------------------------------------------


def settling(weight: float, stages: int = 1) -> int:
    """The number of candles after which the start of an average has less than REMAINDER of the total weight.

    `weight` is the weight of the newest candle. With several stages (averages of averages) it is that of the slowest stage, and
    after n candles the start has at most the weight C(n, stages - 1) * weight ** (stages - 1) * (1 - weight) ** n.
    """
    n = stages
    while math.comb(n, stages - 1) * weight ** (stages - 1) * (1 - weight) ** n >= REMAINDER:
        n += 1
    return n


def _plain(more: int = 0) -> Callable[..., int]:
    """The window of an indicator without recursion: its longest period plus `more`."""
    return lambda *parameters: max(parameters, default=1) + more


def _ema(stages: int = 1, more: int = 0) -> Callable[..., int]:
    """Exponential averages with the weight 2 / (period + 1); each stage starts with a plain average over its first period."""

    def window(*periods: int) -> int:
        slowest = max(periods)
        return stages * slowest + settling(2 / (slowest + 1), stages) + more

    return window


def _wilder(stages: int = 1, more: int = 1) -> Callable[..., int]:
    """Wilder's averages of differences between candles, with the weight 1 / period."""
    return lambda period, *_: stages * period + settling(1 / period, stages) + more


def _period_or_day(more: int = 0) -> Callable[..., int | None]:
    """The last `period` candles plus `more` or, with period 0, those since midnight."""
    return lambda period: period + more if period else None


# --- kinds --------------------------------------------------------------------------------------------------------------


def _period(default: int, least: int = 2) -> tuple[Parameter, ...]:
    return (Parameter("period", default, least),)


def _periods(**defaults: int) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, default, 1 if name.startswith("slow_") else 2) for name, default in defaults.items())


_SINCE_MIDNIGHT = (Parameter("period", 0, 0),)
_BANDS = (*_period(20), Parameter("deviations", 2, 0.1, whole=False))

KINDS = {
    kind.name: kind
    for kind in (
        # averages
        Kind("SMA", _period(20), _plain(), price=True),
        Kind("EMA", _period(20), _ema(), price=True),
        Kind("WMA", _period(20), _plain(), price=True),
        Kind("DEMA", _period(20), _ema(2), price=True),
        Kind("TEMA", _period(20), _ema(3), price=True),
        Kind("TRIMA", _period(20), _plain(), price=True),
        Kind("VWMA", _period(20), _plain(), price=True),
        Kind("VWAP", _SINCE_MIDNIGHT, _period_or_day(), price=True),
        Kind("MIDPRICE", _period(14), _plain(), price=True),
        Kind("LINEARREG", _period(14), _plain(), price=True),
        Kind("LINEARREG_SLOPE", _period(14), _plain(), price=True),
        # momentum
        Kind("RSI", _period(14), _wilder()),
        Kind("CMO", _period(14), _wilder()),
        Kind("MACD", _periods(fast=12, slow=26, signal=9), _ema(2), ("macd", "signal", "histogram"), price=True),
        Kind("PPO", _periods(fast=12, slow=26), _ema()),
        Kind("TRIX", _period(15), _ema(3, more=1)),
        Kind("ADX", _period(14), _wilder(2)),
        Kind("DX", _period(14), _wilder()),
        Kind("PLUS_DI", _period(14), _wilder()),
        Kind("MINUS_DI", _period(14), _wilder()),
        Kind("STOCH", _periods(fast=14, slow_k=3, slow_d=3), lambda fast, k, d: fast + k + d - 2, ("k", "d")),
        Kind("STOCHRSI", _periods(period=14, fast=14, slow_d=3), lambda p, k, d: _wilder()(p) + k + d, ("k", "d")),
        Kind("CCI", _period(20), _plain()),
        Kind("MFI", _period(14), _plain(1)),
        Kind("WILLR", _period(14), _plain()),
        Kind("ROC", _period(10, 1), _plain(1)),
        Kind("MOM", _period(10, 1), _plain(1), price=True),
        Kind("AROON", _period(14), _plain(1), ("up", "down")),
        Kind("AROONOSC", _period(14), _plain(1)),
        Kind("ULTOSC", _periods(short=7, middle=14, long=28), _plain(1)),
        Kind("BOP", (), _plain()),
        # volatility
        Kind("BBANDS", _BANDS, lambda period, _: period, ("middle", "upper", "lower"), price=True),
        Kind("STDDEV", _period(20), _plain(), price=True),
        Kind("ATR", _period(14), _wilder(), price=True),
        Kind("NATR", _period(14), _wilder()),
        Kind("TRANGE", (), _plain(1), price=True),
        # volume
        Kind("OBV", _SINCE_MIDNIGHT, _period_or_day(1)),
        Kind("ADOSC", _periods(fast=3, slow=10), _ema()),
    )
}

DEFAULT = (
    *("SMA_20", "SMA_50", "SMA_200", "EMA_12", "EMA_26", "RSI_14", "MACD_12_26_9", "BBANDS_20_2", "ATR_14", "ADX_14"),
    *("STOCH_14_3_3", "CCI_20", "MFI_14", "OBV", "VWAP", "WILLR_14", "ROC_10", "MOM_10", "STDDEV_20", "AROON_14"),
)


def parse(name: str) -> IndicatorSpec:
    """The indicator with that name. Raises ValueError, whose message has the valid names or parameters."""
    match = _NAME.fullmatch(name)
    kind = KINDS.get(match[1]) if match else None
    if match is None or kind is None:
        raise ValueError(
            f"unknown indicator '{name}'; known, with these or other parameters: {', '.join(map(example, KINDS.values()))}"
        )
    given = [text for text in match[2].split("_") if text]
    if len(given) > len(kind.parameters):
        raise ValueError(f"'{name}' has {len(given)} parameters; right would be {example(kind)}: {_parameter_names(kind)}")
    numbers = [*map(float, given), *(parameter.default for parameter in kind.parameters[len(given) :])]
    for number, parameter in zip(numbers, kind.parameters, strict=True):
        if not parameter.least <= number <= MAX_PARAMETER or (parameter.whole and number % 1):
            right = f"a {'whole ' * parameter.whole}number from {parameter.least:g} to {MAX_PARAMETER}"
            raise ValueError(f"'{name}': {parameter.name} is {number:g}; right would be {right}, as in {example(kind)}")
    if any(f"{float(text):g}" != text for text in given):
        raise ValueError(f"'{name}': a number is not in its shortest form; right would be as in {example(kind)}")
    parameters = tuple(int(number) if of.whole else number for number, of in zip(numbers, kind.parameters, strict=True))
    window = kind.window(*parameters)
    if window is not None and window > MAX_WINDOW:
        raise ValueError(f"'{name}' would need {window:,} candles for each value; at most {MAX_WINDOW:,} are read")
    return IndicatorSpec(name, kind, parameters, window)


def candles_before(specs: Sequence[IndicatorSpec], length: int, minute: int) -> int:
    """How many candles before the candle at `minute` its values depend on. `length` is that of a candle; both are in minutes."""
    return max((minute % DAY // length if spec.window is None else spec.window - 1 for spec in specs), default=0)


def candles_after(specs: Sequence[IndicatorSpec], length: int, minute: int) -> int:
    """How many candles after the candle at `minute` have values that depend on it. Arguments as in `candles_before`."""
    return max(((DAY - 1 - minute % DAY) // length if spec.window is None else spec.window - 1 for spec in specs), default=0)


def example(kind: Kind) -> str:
    """The name of an indicator with the default parameters, as in `MACD_12_26_9`."""
    return "_".join([kind.name, *(f"{parameter.default:g}" for parameter in kind.parameters if parameter.default)])


def _parameter_names(kind: Kind) -> str:
    return ", ".join(parameter.name for parameter in kind.parameters) or "it has no parameters"
