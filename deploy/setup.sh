# Functions that install what the scripts of deploy/ need. The scripts source this file from the root of the checkout.
# https://www.debian.org/doc/manuals/debian-reference/ch02. A step whose result exists does nothing and needs no privileges.

say() { printf '== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install WHY PACKAGE...: installs the missing packages, after printing them with the reason.
install() {
    local why=$1 package missing=()
    shift
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "apt-get is not available; install these packages with another tool: ${missing[*]}"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "neither root nor sudo is available; an administrator must run: apt-get install ${missing[*]}"
    say "about to install ($why): ${missing[*]}"
    update_lists
    as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

update_lists() {
    [ -z "${lists_updated:-}" ] || return 0
    as_root apt-get update -qq
    lists_updated=yes
}

# --- Python ---------------------------------------------------------------------------------------------------------

need_python() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || install "the virtual environment" python3 python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$(python3 --version) is too old: 3.11 or newer is needed"
}

# make_environment [test]: makes .venv with the project; with `test`, also the tools of the tests. pyproject.toml changes recreate it.
make_environment() {
    local state stamp=.venv/made-for
    state="$(sha256sum pyproject.toml) $PWD $(python3 --version)"
    if [ "$(head -n 1 $stamp 2>/dev/null)" != "$state" ]; then
        say "making the virtual environment .venv"
        rm -rf .venv
        python3 -m venv .venv
    elif [ -z "${1:-}" ] || grep -qx "$1" $stamp; then
        return 0
    fi
    say "installing the project and its dependencies into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -e ".${1:+[$1]}"
    printf '%s\n%s\n' "$state" "${1:-}" >$stamp
}

# --- TimescaleDB ----------------------------------------------------------------------------------------------------

# Uses the first of these: DATABASE_URL, an installed server, the distribution's package, Debian's source package.
need_database() {
    [ -z "${DATABASE_URL:-}" ] || return 0
    python3 deploy/cluster.py binaries >/dev/null 2>&1 && return 0
    command -v apt-get >/dev/null || no_database
    update_lists
    local package
    package=$(apt-cache pkgnames postgresql- | sed -nE '/^postgresql-[0-9]+-timescaledb$/p' | sort -V | tail -n 1)
    install_server
    if [ -n "$package" ]; then
        install "TimescaleDB, the distribution's package" "$package"
    else
        build_timescaledb
    fi
    python3 deploy/cluster.py binaries >/dev/null
}

# PgBouncer, for the tests. The service of Debian's package is masked during the installation, so that it does not start.
need_pooler() {
    [ ! -x /usr/sbin/pgbouncer ] || return 0
    command -v apt-get >/dev/null || return 0 # the tests that need it are skipped
    if [ -d /run/systemd/system ]; then as_root systemctl mask --quiet pgbouncer; fi
    install "the pooler of the tests" pgbouncer
    if [ -d /run/systemd/system ]; then
        as_root systemctl unmask --quiet pgbouncer
        as_root systemctl disable --quiet pgbouncer
    fi
}

# libfaketime, for the fault tests: it changes the clock of the daemon only.
need_faketime() {
    ! compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || return 0
    command -v apt-get >/dev/null || return 0 # clock_step is skipped
    install "the clock steps of the fault tests" libfaketime
}

# Installs PostgreSQL without the cluster "main", which Debian would create and start, and which is not used.
install_server() {
    local conf=/etc/postgresql-common/createcluster.conf
    ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || return 0
    install "the tools of the database server" postgresql-common
    as_root pg_conftool $conf set create_main_cluster false
    install "the database server" postgresql
    as_root pg_conftool $conf remove create_main_cluster
}

build_timescaledb() {
    local postgresql suite=trixie build
    postgresql=$(ls /usr/lib/postgresql | sort -V | tail -n 1)
    build=$(mktemp -d /var/tmp/timescaledb-build-XXXXXX)
    if ! fetch_source "$suite" "$build"; then rm -rf "$build"; no_database; fi
    install "to build TimescaleDB" build-essential cmake dpkg-dev libkrb5-dev libssl-dev "postgresql-server-dev-$postgresql"
    say "building TimescaleDB (Debian's source package of $suite) for PostgreSQL $postgresql"
    (
        cd "$build" && # chained with &&, because `set -e` has no effect before "||"
        dpkg-source --no-check -x ./*.dsc source &&
        cmake -S source -B made -DCMAKE_BUILD_TYPE=Release -DAPACHE_ONLY=1 -DREGRESS_CHECKS=OFF -DWARNINGS_AS_ERRORS=OFF \
            -DPG_CONFIG="/usr/lib/postgresql/$postgresql/bin/pg_config" &&
        make -C made -j "$(nproc)"
    ) >"$build/log" 2>&1 </dev/null || { tail -n 30 "$build/log" >&2; fail "TimescaleDB cannot be built; the complete output is in $build/log"; }
    as_root make -C "$build/made" install >/dev/null
    as_root rm -rf "$build"
}

# fetch_source SUITE FOLDER: downloads the source package from this machine's mirror, with separate package lists in FOLDER.
fetch_source() {
    local suite=$1 folder=$2 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 'Component: main' | head -n 1)
    [ -n "$mirror" ] || return 1
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$folder/sources.list"
    local options=(-qq -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$folder/lists"
        -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root) # apt's own user cannot write to the folder, which is private
    say "fetching the source package timescaledb of Debian $suite from this machine's mirror"
    (cd "$folder" && apt-get "${options[@]}" update && apt-get "${options[@]}" source --download-only timescaledb) </dev/null >/dev/null
}

no_database() {
    fail "no TimescaleDB is installed, and neither a package nor a source package of it can be found. Start one, for example with
    docker run -d -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust timescale/timescaledb:latest-pg17
and give its address: DATABASE_URL=postgresql://postgres@localhost:5432/postgres"
}
