# What the scripts share. Sourced, not run.
#
# The idea: each script says what it needs (`need_rust`, `need_packages`, `need_contracts`), and what is missing
# is installed, once. So every script works on a fresh machine, can be repeated, and is quiet when there is
# nothing to do. Only what a script started is stopped, by process id, however the script ends.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export DEBIAN_FRONTEND=noninteractive

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' plain=''
fi

# What is going on, for people: standard error, so that results stay alone on standard output.
say() { echo "${bold}==>${plain} $*" >&2; }
die() {
  echo "${red}error:${plain} $*" >&2
  exit 1
}

# The comment at the top of a script is its help.
help_of() { sed -n '2,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//p}' "$1"; }

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command with the rights to install software.
as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo --preserve-env=DEBIAN_FRONTEND "$@"; fi
}

may_install() { have apt-get && { [[ $(id -u) == 0 ]] || have sudo; }; }

# need_packages PACKAGE … : installs Debian packages.
need_packages() {
  have apt-get || die "this machine has no apt-get; please install by its own means what Debian calls: $*"
  may_install || die "something is missing that only root can install. As root, run: apt-get install $*"
  say "installing $*"
  as_root apt-get update -qq
  as_root apt-get install -qq --yes --no-install-recommends "$@" >&2
}

need_rust() {
  have cargo || PATH="$HOME/.cargo/bin:$PATH"
  have cargo || die "there is no Rust on this machine. Install it with rustup (https://rustup.rs) and try again."
  local part
  for part in fmt clippy; do
    cargo "$part" --version >/dev/null 2>&1 ||
      die "this Rust has no 'cargo $part'. Install it with: rustup component add rustfmt clippy"
  done
  # For the parts of our dependencies that are C: SQLite and ring.
  have cc || need_packages build-essential
}

postgres_programs() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have postgres; }

need_postgres() {
  postgres_programs && return
  # The programs are enough: without this file Debian would also set up a server of its own and start it.
  local settings=/etc/postgresql-common/createcluster.conf ours=
  if [[ ! -e $settings ]] && may_install; then
    ours=yes
    as_root mkdir -p "${settings%/*}"
    echo 'create_main_cluster = false' | as_root tee "$settings" >/dev/null
  fi
  need_packages postgresql
  if [[ -n $ours && -e /usr/share/postgresql-common/createcluster.conf ]]; then
    as_root cp /usr/share/postgresql-common/createcluster.conf "$settings"
  fi
  postgres_programs || die "PostgreSQL was installed, but its programs are not in /usr/lib/postgresql."
}

need_node() {
  local missing=()
  have node || missing+=(nodejs)
  have npm || missing+=(npm)
  [[ ${#missing[@]} == 0 ]] || need_packages "${missing[@]}"
  local version
  version=$(node -p 'process.versions.node.split(".")[0]')
  ((version >= 18)) || die "Node $version is too old to compile the contracts: version 18 or newer is needed."
}

# The contracts' packages (compilers, published oracle contracts, anvil, cast) and what is compiled from them.
need_contracts() {
  need_node
  local lock=contracts/package-lock.json stamp=contracts/node_modules/.installed-from
  # Two scripts at once: the second waits for the first and finds everything done.
  exec 8<"$lock"
  flock 8
  if ! cmp -s "$lock" "$stamp"; then
    say "installing the npm packages of contracts/"
    # Elsewhere npm would refuse the programs it cannot run; the compilers are of use all the same.
    local elsewhere=()
    [[ $(uname -sm) == "Linux x86_64" ]] || elsewhere=(--force)
    npm ci --prefix contracts --no-progress --loglevel=error "${elsewhere[@]}" >&2
    cp "$lock" "$stamp"
  fi
  node contracts/build.mjs
  exec 8<&-

  # The programs themselves rather than the packages with launchers, which report success whatever happens.
  local packages=$root/contracts/node_modules/@foundry-rs
  export DODONA_ANVIL=${DODONA_ANVIL:-$packages/anvil-linux-amd64/bin/anvil}
  export DODONA_CAST=${DODONA_CAST:-$packages/cast-linux-amd64/bin/cast}
  export DODONA_CONTRACTS_OUT=$root/contracts/out
  [[ -x $DODONA_ANVIL && -x $DODONA_CAST ]] || die "the npm packages bring anvil and cast for Linux on x86-64 only ($(uname -sm) here):" \
    "install Foundry 1.7 by other means and name its programs in DODONA_ANVIL and DODONA_CAST."
}

# The Ethereum libraries that the gateway is tested with, of Node and of Python, each as its lock file says.
need_clients() {
  need_node
  local clients=tests/clients
  exec 8<"$clients/package-lock.json"
  flock 8
  if ! cmp -s "$clients/package-lock.json" "$clients/node_modules/.installed-from"; then
    say "installing the npm packages of $clients/"
    npm ci --prefix "$clients" --no-progress --loglevel=error >&2
    cp "$clients/package-lock.json" "$clients/node_modules/.installed-from"
  fi
  if ! cmp -s "$clients/requirements.txt" "$clients/.venv/.installed-from"; then
    have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null || need_packages python3 python3-venv
    say "installing the Python packages of $clients/"
    python3 -m venv --clear "$clients/.venv" >&2
    "$clients/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
      --requirement "$clients/requirements.txt" >&2
    cp "$clients/requirements.txt" "$clients/.venv/.installed-from"
  fi
  exec 8<&-
}

need_everything() {
  need_rust
  need_postgres
  need_contracts
  need_clients
}

# The dodona program of the development profile, which tests and demo share.
build_node() {
  local started=$SECONDS
  say "building the node"
  cargo build --package dodona --bin dodona || die "the node does not build."
  export DODONA_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/dodona
  ((SECONDS - started < 5)) || say "built in $((SECONDS - started)) seconds"
}

# wait_for SECONDS WHAT COMMAND … : repeats a command until it succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || die "waited in vain until $what"
    sleep 0.2
  done
}

# A port of this machine that nobody listens on, below those the kernel hands out by itself.
free_port() {
  local port
  for _ in {1..50}; do
    port=$((20000 + RANDOM % 12000))
    port_in_use "$port" || { echo "$port" && return; }
  done
  die "found no free port between 20000 and 32000."
}

port_in_use() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# stop PID … : ends processes we started and waits until they are gone; insists after ten seconds.
stop() {
  local pid deadline
  for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
  deadline=$((SECONDS + 10))
  for pid in "$@"; do
    while kill -0 "$pid" 2>/dev/null; do
      ((SECONDS < deadline)) || kill -KILL "$pid" 2>/dev/null || true
      sleep 0.05
    done
    wait "$pid" 2>/dev/null || true
  done
}
