#!/usr/bin/env bash
# From a bare machine to market data in a TimescaleDB, in one command:
#
#   deploy/quickstart.sh [--seconds N]                                a simulated exchange on this machine; needs no internet
#   deploy/quickstart.sh --live binance BTC/USDT ... [--seconds N]    the real exchange
#
# Ctrl-C drains the queues and stops everything. The data is kept, and the next run continues on it.
# With DATABASE_URL, that database is filled. Without it, a private server is started, which ends with this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

usage() { sed -n '4,5s/^# *//p' deploy/quickstart.sh >&2; exit 2; }

parse() {
    exchange='' instruments=() seconds=''
    while [ $# -gt 0 ]; do
        case $1 in
            --seconds) [[ ${2:-} =~ ^[0-9]+$ ]] || usage; seconds=$2; shift 2 ;;
            --live)
                [[ ${2:-} =~ ^[a-z0-9_]+$ ]] || usage
                exchange=$2; shift 2
                while [ $# -gt 0 ] && [[ $1 =~ ^[A-Za-z0-9/:._-]+$ && $1 != --* ]]; do instruments+=("$1"); shift; done
                [ ${#instruments[@]} -gt 0 ] || usage ;;
            *) usage ;;
        esac
    done
}

# Writes the configuration of a live run. The file is kept and can be used with `ingest run --config`.
write_configuration() {
    local quoted
    quoted=$(printf '"%s", ' "${instruments[@]}")
    mkdir -p .local
    cat >$configuration <<TOML
# written by deploy/quickstart.sh; the address of the database is in INGEST__DATABASE__DSN
[exchanges.$exchange]
instruments = [${quoted%, }]
TOML
}

run_live() {
    local url="http://127.0.0.1:${INGEST__SERVER__PORT:-9464}/metrics" limit=()
    if [ -n "$seconds" ]; then limit=(timeout --foreground --preserve-status --signal TERM "$seconds"); fi
    say "ingest run --config $configuration; metrics: $url"
    setpriv --pdeathsig TERM -- python3 deploy/watch.py "$url" & # ends with the daemon, which replaces this shell
    exec "${limit[@]}" .venv/bin/ingest run --config $configuration
}

parse "$@"
need_python
make_environment
if [ -z "${INGEST__DATABASE__DSN:-${DATABASE_URL:-}}" ]; then # start a server, and run this script again with its address
    need_database
    exec python3 deploy/cluster.py run --keep -- bash deploy/quickstart.sh "$@"
fi
export INGEST__DATABASE__DSN=${INGEST__DATABASE__DSN:-$DATABASE_URL}
export INGEST__DATABASE__ADMIN_DSN=${INGEST__DATABASE__ADMIN_DSN:-$INGEST__DATABASE__DSN}

if [ -n "$exchange" ]; then
    configuration=.local/quickstart.toml
    write_configuration
fi
say "ingest migrate"
.venv/bin/ingest migrate ${configuration:+--config $configuration}
if [ -n "$exchange" ]; then run_live; fi
say "ingest demo"
exec .venv/bin/ingest demo ${seconds:+--seconds "$seconds"}
