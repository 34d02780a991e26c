"""`python -m ingest`: the same as the command `ingest`."""

import sys

from ingest.cli import main

sys.exit(main())
