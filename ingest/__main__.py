"""`python -m ingest`: the same as the command `ingest`."""

import sys

from ingest.cli.main import main

sys.exit(main())
