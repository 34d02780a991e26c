"""The entry point of `ingest` and `python -m ingest`.

Exit codes: 0 done, 1 something is not as it should be, 2 bad configuration.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from ingest.cli.arguments import parser
from ingest.errors import Hold, IngestError, Stop


def main(arguments: list[str] | None = None) -> int:
    """The exit code. The command is the module of its name in this package, and its `run` takes the options."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it reads the metadata of every installed package
    import uvloop  # noqa: PLC0415 - what only parses does not wait for asyncio

    try:
        code: int = uvloop.run(import_module(f"ingest.cli.{options.command}").run(options))
    except (Stop, Hold) as error:
        print(f"ingest: {error}", file=sys.stderr)
        return 2
    except IngestError as error:
        print(f"ingest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code
