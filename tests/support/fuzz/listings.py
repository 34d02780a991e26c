"""Reads the listing of an exchange with a mutated row: the other markets are listed, and none that the table `instruments` refuses.

A market of an unknown kind is left out without a word.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from ingest import registry
from ingest.errors import Reject, Retry
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Response
from ingest.records import Instrument
from tests.support.fuzz.faults import Faults
from tests.support.mutations import Choice, rows, shortened
from tests.support.recordings.files import recording
from tests.support.recordings.frames import RECORDED
from tests.support.row_checks import instrument_refusal

MARKETS = 10  # of the recorded listing that are kept


class Listed(Struct):
    """A listing that was read. `error` is the Reject or Retry that it raised, `crash` any other exception."""

    instruments: Counter[Instrument] = Counter()
    rejected: Sequence[Malformed] = ()
    error: str = ""
    crash: str = ""
    seconds: float = 0.0


@cache
def body(name: str) -> bytes:
    """The recorded response, with the first markets."""
    recorded = next(line for line in recording(f"{RECORDED[name].name}.0") if line.kind == "answer").frame
    if name != "kraken":
        return shortened(recorded, MARKETS)
    pairs: dict[str, Any] = json.loads(recorded)
    return json.dumps(pairs | {"result": dict(list(pairs["result"].items())[:MARKETS])}).encode()


def read(name: str, answer: bytes) -> Listed:
    """The markets in a response."""
    options = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="")
    flow = registry.exchanges()[name].listing(options)
    next(flow)
    began = time.thread_time()
    listed = Listed()
    try:
        flow.send(Response(200, answer))
        listed.error = "it requests more"
    except StopIteration as done:
        listed.instruments, listed.rejected = Counter(done.value), getattr(done.value, "rejected", ())
    except (Reject, Retry) as error:
        listed.error = f"{type(error).__name__}: {error}"[:200]
    except Exception as error:
        listed.crash = f"{type(error).__name__}: {error}"[:300]
    listed.seconds = time.thread_time() - began
    return listed


@cache
def normal(name: str) -> Listed:
    """The listing with nothing changed."""
    listed = read(name, body(name))
    assert listed.instruments.total() > 5, (name, listed)
    return listed


def judge(name: str, choices: Sequence[tuple[int, Choice]]) -> Faults:
    """Mutate the response by the first choice, and compare with the response without the row that was touched."""
    mutant = rows(body(name), outermost=True).mutate(choices[0][1])
    listed, usual = read(name, mutant.body), normal(name)
    faults = Faults(kinds=[mutant.kind], inputs=[mutant.body])
    faults.judge_time(listed.seconds)
    if listed.crash:
        faults.found.append(f"crash: {listed.crash}")
        return faults
    faults.judge_evidence(listed.rejected)
    for instrument in listed.instruments.keys() - usual.instruments.keys():
        if why := instrument_refusal(instrument):
            faults.found.append(f"wrong row: {why}: {instrument}")
    if mutant.exact and mutant.rest is not None:
        rest = read(name, mutant.rest)
        if not rest.error and (lost := rest.instruments.keys() - listed.instruments.keys()):
            faults.found.append(f"lost neighbour: {listed.error or len(lost)}, such as {next(iter(lost))}")
        if len(listed.instruments.keys() - usual.instruments.keys()) > mutant.rows:
            faults.found.append("wrong row: more instruments than rows were touched")
    return faults
