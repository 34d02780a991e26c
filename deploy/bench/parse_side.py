"""A process of `bench.parse`: feeds frames to the sessions of the checkout that is first on the path, and prints the time.

A line of JSON on stdin is a case (frames, subscriptions, REST responses); the line `run` requests one round of it. The response is
the CPU time of `session.feed` per frame, in nanoseconds. The process imports only the registry of the checkout by name, and finds
classes by their names in any module, because the checkouts may have them in different modules.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

from ingest import registry

LEAST_SECONDS = 0.03  # of a round; shorter rounds are inaccurate


def found(name: str) -> Any:
    """The class of that name, from any loaded module."""
    modules = [module for key, module in sorted(sys.modules.items()) if key.partition(".")[0] == "ingest"]
    return next(getattr(module, name) for module in modules if hasattr(module, name))


class Case:
    """Frames for sessions of one exchange and one channel."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.exchange: Any = registry.exchanges()[case["exchange"]]
        self.frames = [(frame.encode(), at) for frame, at in case["frames"]]
        self.answers = {symbol: body.encode() for symbol, body in case["answers"].items()}
        self.options = found("ExchangeOptions")(
            ws_url="wss://test", rest_url="https://test", trade_kind=case["trade_kind"], writer="bench"
        )
        instrument, subscription = found("Instrument"), found("Subscription")
        rows = [
            instrument(case["exchange"], symbol, symbol, "", "", "spot", "trading", *steps, id=index)
            for index, (symbol, *steps) in enumerate(case["markets"], 1)
        ]
        self.connection = found("Connection")("wss://test", tuple(subscription(row, case["channel"]) for row in rows))
        self.request, self.response = found("Request"), found("Response")
        self.passes = 1 + int(LEAST_SECONDS / self.once(self.session()))

    def session(self) -> Any:
        """A new session, ready for frames."""
        session = self.exchange.session(self.connection, self.options)
        begin = self.frames[0][1]
        list(session.start(begin))
        if hasattr(self.exchange, "locate"):  # an exchange whose server sends the first message
            session.feed(b'{"id":"1","type":"welcome"}', begin)
        return session

    def once(self, session: Any) -> float:
        """CPU seconds for all frames, without those for the responses to the session's requests."""
        request, feed, seconds, clock = self.request, session.feed, 0.0, time.process_time
        start = clock()
        for frame, at in self.frames:
            for output in feed(frame, at):
                if type(output) is request:
                    seconds += clock() - start
                    if (body := self.answers.get(output.tag)) is not None:
                        session.answer(output, self.response(200, body), at)
                    start = clock()
        return seconds + clock() - start

    def round(self) -> float:
        """Nanoseconds per frame. The sessions are created before, so that the garbage collector does not traverse them."""
        sessions = [self.session() for _ in range(self.passes)]
        gc.collect()
        gc.freeze()
        seconds = sum(self.once(session) for session in sessions)
        gc.unfreeze()
        return seconds / self.passes / len(self.frames) * 1e9


def main() -> None:
    case: Case | None = None
    for line in sys.stdin:
        if line.strip() == "run":
            assert case is not None, "`run` before a case"
            print(case.round(), flush=True)
        else:
            case = Case(json.loads(line))


if __name__ == "__main__":
    main()
