"""The names of indicators: their meaning, and the messages of wrong names."""

from __future__ import annotations

import pytest

from ingest.indicators.names import DEFAULT, KINDS, example, parse, settling


def test_a_name_is_the_kind_and_its_parameters():
    assert [
        (spec.kind.name, spec.parameters) for spec in map(parse, ("SMA_20", "PLUS_DI_14", "BBANDS_20_2.5", "VWAP", "OBV_100"))
    ] == [
        ("SMA", (20,)),
        ("PLUS_DI", (14,)),
        ("BBANDS", (20, 2.5)),
        ("VWAP", (0,)),
        ("OBV", (100,)),
    ]
    assert parse("MACD_8").parameters == (8, 26, 9)
    assert parse("MACD").parameters == parse("MACD_12_26_9").parameters


def test_every_default_and_every_example_is_valid():
    assert [parse(name).name for name in DEFAULT] == list(DEFAULT)
    assert {parse(example(kind)).kind.name for kind in KINDS.values()} == set(KINDS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SMAA_20", "unknown indicator 'SMAA_20'; known, with these or other parameters: SMA_20, EMA_20, "),
        ("sma_20", "unknown indicator 'sma_20'"),
        ("", "unknown indicator ''"),
        ("SMA__20", "unknown indicator 'SMA__20'"),
        ("SMA_1", "'SMA_1': period is 1; right would be a whole number from 2 to 1000, as in SMA_20"),
        ("SMA_2.5", "'SMA_2.5': period is 2.5; right would be a whole number from 2 to 1000, as in SMA_20"),
        ("SMA_99999999", "'SMA_99999999': period is 1e+08; right would be a whole number from 2 to 1000, as in SMA_20"),
        ("SMA_020", "'SMA_020': a number is not in its shortest form; right would be as in SMA_20"),
        ("SMA_20_3", "'SMA_20_3' has 2 parameters; right would be SMA_20: period"),
        ("BOP_3", "'BOP_3' has 1 parameters; right would be BOP: it has no parameters"),
        ("EMA_1000", "'EMA_1000' would need 11,362 candles for each value; at most 5,000 are read"),
    ],
)
def test_the_message_of_a_wrong_name_gives_a_right_one(name: str, message: str):
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(").replace("+", r"\+")):
        parse(name)


@pytest.mark.parametrize("weight", [1 / 14, 2 / 27])
def test_an_average_has_settled_after_the_computed_number_of_candles(weight: float):
    """An average starts with an error of 1 in a series of zeros; the error must fall below 1e-9."""
    stages = [1.0, 1.0, 1.0]
    for count in range(1, 1_000):
        below = 0.0
        for stage, value in enumerate(stages):
            below = stages[stage] = value + weight * (below - value)
            if count == settling(weight, stage + 1) and stage == 0:
                assert 0.9e-9 < below < 1e-9
    assert all(value < 1e-9 for value in stages)
