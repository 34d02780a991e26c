"""Replaces the wall clock of a process by the clock of a replay: microseconds since the epoch, in the file that REPLAY_CLOCK names.

Python imports this module from PYTHONPATH before the program (https://docs.python.org/3/library/site.html#module-sitecustomize).
The monotonic clock, by which programs wait, stays the machine's.
"""

import mmap
import os
import time
from pathlib import Path

with Path(os.environ["REPLAY_CLOCK"]).open("rb") as _file:
    _micros = memoryview(mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)).cast("q")

time.time_ns = lambda: _micros[0] * 1000
time.time = lambda: _micros[0] / 1e6
