"""The command line without a database: help, exit codes, and the messages of a wrong configuration."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path

import pytest

from ingest import __version__, registry
from ingest.cli.arguments import HISTORIC
from ingest.cli.main import main
from ingest.config import settings as config
from ingest.config.sections import PollerSection
from ingest.errors import Stop
from ingest.sources.poll_plan import describe_plans
from ingest.sources.provider_backfill import KINDS

COMPUTING = {"ccxt", "numpy", "talib", "vaderSentiment"}
CONNECTING = {"aiohttp", "aiohttp_socks", "prometheus_client"}
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove INGEST__ variables of the environment, and restore the logging of the test run afterwards."""
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


def exit_code(*arguments: str) -> int:
    """The exit code that `main` returns or with which it exits."""
    try:
        return main(list(arguments))
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"ingest {__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    named = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert {"run", "migrate", "status", "check", "demo"} <= set(named)
    for name in named:
        assert exit_code(name, "--help") == 0
        assert f"usage: ingest {name} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("runn",), "invalid choice: 'runn'"),
        (("run", "--confg", "x"), "unrecognized arguments: --confg x"),
        (("migrate", "--to", "soon"), "argument --to: invalid int value: 'soon'"),
        (("migrate", "--check", "--dry-run"), "not allowed with argument --check"),
        (("demo", "--seconds", "soon"), "argument --seconds: invalid float value: 'soon'"),
        (("run", "--config", "/nowhere.toml"), "ingest: configuration /nowhere.toml: No such file or directory"),
        (("run",), "ingest: database: is missing"),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_nothing_to_do_ends_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INGEST__DATABASE__DSN", NOWHERE)
    assert exit_code("run") == 2
    message = "ingest: nothing to do: neither an exchange nor a poller is configured; `ingest check --init` prints an example\n"
    assert capsys.readouterr().err == message


def test_the_example_is_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("check", "--init") == 0
    path = tmp_path / "ingest.toml"
    path.write_text(capsys.readouterr().out)
    settings = config.load(path)
    assert settings.exchanges["binance"].instruments == ("BTC/USDT", "ETH/USDT")
    assert settings.database.dsn.get_secret_value() == "postgresql://ingest_writer@localhost/market"
    assert settings.database.admin_dsn is not None
    assert list(describe_plans(settings.pollers)) == [
        "coingecko: plan keyless, every 536 s",
        "alternative_me: plan keyless, every 3600 s",
        "mempool_space: plan keyless, every 300 s",
        "news_coindesk: plan keyless, every 300 s",
        "cboe: plan keyless, every 3600 s",
    ]


def test_the_outlook_gives_the_reason_of_a_disabled_provider_and_names_a_wrong_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("bc1qm34lsc65zpw79lxes69zkqmk6ee3ewf0j77s3h binance\n")
    sections = {"glassnode": PollerSection(), "reddit": PollerSection(), "whale_bitcoin": PollerSection(labels=labels)}
    lines = describe_plans(sections)
    assert next(lines) == "glassnode: disabled: no key"
    assert next(lines).startswith("reddit: disabled: not enabled: https://")
    with pytest.raises(Stop, match=r"labels .*labels\.csv: line 1: .* is not an address and a label; right would be"):
        next(lines)


@pytest.mark.parametrize("command", [("migrate",), ("migrate", "--check"), ("check",)])
def test_a_database_that_does_not_answer(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGEST__DATABASE__DSN", NOWHERE)
    assert exit_code(*command) != 0
    err = capsys.readouterr().err
    assert err.startswith("ingest: database.dsn")
    assert "Connect" in err


def test_status_without_a_daemon_and_a_database(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` does not check exchange names, which it does not need; `check` does."""
    monkeypatch.setenv("INGEST__DATABASE__DSN", NOWHERE)
    monkeypatch.setenv("INGEST__SERVER__PORT", "1")
    monkeypatch.setenv("INGEST__EXCHANGES", '{"nowhere": {"instruments": ["BTC/USDT"]}}')
    assert exit_code("status") == 1
    out = capsys.readouterr().out
    assert "no daemon answers at http://127.0.0.1:1/status: " in out
    assert re.search(r"^database\n  state +failing\n  detail +database\.dsn", out, re.MULTILINE)
    assert exit_code("check") == 2
    assert "exchanges: unknown exchange 'nowhere'; known: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "absent", "modules"),
    [
        ("--help", COMPUTING | CONNECTING | {"asyncio", "asyncpg", "msgspec", "pydantic", "pydantic_settings", "uvloop"}, set()),
        ("status", COMPUTING | CONNECTING, set()),
        ("check", COMPUTING | CONNECTING, {"exchanges.binance", "pollers.coingecko", "pollers.news_coindesk"}),
    ],
)
def test_a_command_imports_what_it_needs(command: str, absent: set[str], modules: set[str], tmp_path: Path) -> None:
    """In a process of its own, because this one has the modules of all tests. No database answers."""
    path = tmp_path / "ingest.toml"
    path.write_text(
        f'[database]\ndsn = "{NOWHERE}"\n[server]\nport = 1\n'
        '[exchanges.binance]\ninstruments = ["BTC/USDT"]\n[pollers.coingecko]\nsymbols = ["BTC"]\n[pollers.news_coindesk]\n'
    )
    arguments = [command] if command == "--help" else [command, "--config", str(path)]
    script = f"import sys\nfrom ingest.cli.main import main\ntry: main({arguments!r})\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    imported = set(done.stdout.splitlines()[-1].split())
    assert imported & absent == set()
    names = {name.removeprefix("ingest.").removesuffix(".exchange") for name in imported}
    assert {f"{room}.{name}" for room in ("exchanges", "pollers") for name in getattr(registry, room)()} & names == modules


def test_every_command_has_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    for name in re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE):
        assert iscoroutinefunction(import_module(f"ingest.cli.{name}").run)


def test_what_can_be_backfilled_is_of_an_exchange_or_of_a_provider() -> None:
    assert ("candles", "trades", "indicators", *KINDS) == HISTORIC


def test_it_is_a_module_as_well() -> None:
    done = subprocess.run([sys.executable, "-m", "ingest", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ingest {__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "ingest", "run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "ingest: database: is missing\n")
