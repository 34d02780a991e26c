"""The entry point of `ingest` and `python -m ingest`.

Exit codes: 0 success, 1 a failure or a reported problem, 2 a wrong configuration or schema, 130 an interrupt.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from ingest.cli.arguments import parser
from ingest.errors import Hold, IngestError, Stop


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code. The command is `run` of the module of the same name in this package."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else pydantic reads the metadata of every installed package
    import uvloop  # noqa: PLC0415 - `--help` need not import asyncio

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
