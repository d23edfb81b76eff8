# Shared by ops/up, ops/test and .ci/run: where to build, and how to install what is missing.
# Sourced, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One target folder outside the clone, so that a second clone does not build everything again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/switchyard-target}"

# Settings of this shell must not reach the programs under test, and no file of the user's either.
forget_settings() {
  local name
  for name in $(compgen -e SWITCHYARD_ || true) DATABASE_URL REDIS_URL; do
    case "$name" in SWITCHYARD_TEST_*) ;; *) unset "$name" ;; esac
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "this needs root: $*" >&2
    echo "run it as root once, then start this again" >&2
    return 1
  fi
}

apt_install() {
  command -v apt-get >/dev/null || {
    echo "please install: $* (only Debian's apt-get is known here)" >&2
    return 1
  }
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

have_postgres() { ls /usr/lib/postgresql/1[5-9]/bin/initdb /usr/lib/postgresql/[2-9]*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; }

# The package would make and start a server of its own on port 5432; we only want the programs.
need_postgres() {
  have_postgres && return
  echo "installing PostgreSQL"
  apt_install postgresql-common
  local conf=/etc/postgresql-common/createcluster.conf
  if [ -f "$conf" ] && ! grep -q '^create_main_cluster' "$conf"; then
    as_root sed -i '1i create_main_cluster = false' "$conf"
  fi
  apt_install postgresql
}

need_redis() {
  command -v redis-server >/dev/null && return
  echo "installing Redis"
  apt_install redis-server
}

need_curl() {
  command -v curl >/dev/null && return
  apt_install curl ca-certificates
}

# The example of docs/commissions.md reads its answers with it.
need_chromium() {
  command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
  echo "installing Chromium"
  apt_install chromium chromium-driver
}

# A library that gives a process another time of day.
need_faketime() {
  ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 && return
  echo "installing libfaketime"
  apt_install faketime
}

# Opens what backups are sealed with, by hand.
need_age() {
  command -v age >/dev/null && return
  echo "installing age"
  apt_install age
}

need_jq() {
  command -v jq >/dev/null && return
  echo "installing jq"
  apt_install jq
}

# Where programs are put that no package has.
tools="$HOME/.cache/switchyard-tools"

# An S3 server that keeps conditional writes: of several at once one wins.
need_moto() {
  [ -x "$tools/moto/bin/moto_server" ] && return
  echo "installing moto"
  command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  python3 -m venv "$tools/moto"
  "$tools/moto/bin/pip" install --quiet --disable-pip-version-check 'moto[server]==5.2.5'
}

# An S3 server that checks signatures and checksums.
need_s3s() {
  [ -x "$tools/bin/s3s-fs" ] && return
  echo "installing s3s-fs"
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --features binary --root "$tools" s3s-fs@0.14.1
}

need_rust() {
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null || {
    echo "Rust is missing: see https://rustup.rs" >&2
    return 1
  }
  command -v cc >/dev/null || apt_install build-essential
}

# A tool of cargo's. Built without optimisation: it runs for seconds, the build would take minutes.
need_cargo_tool() {
  cargo "$1" --version >/dev/null 2>&1 && return
  echo "installing cargo-$1"
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug "cargo-$1"
}
