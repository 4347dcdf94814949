#!/bin/sh
# Make the virtual environment and install what the project needs: Python packages into $VENV, buf into .tools, and the
# distribution's own rpm tools when they are missing and we may. Says one sentence for each thing that it cannot do.
set -eu
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
buf_version=1.75.0

say() { printf '%s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

# Install the distribution's packages: install_packages "for Debian" "for rpm-based".
install_packages() {
  if command -v apt-get >/dev/null; then
    command="apt-get install $1"
    may_install || return 1
    ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || as_root apt-get update -qq || return 1
    # shellcheck disable=SC2086 # one word a package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 >/dev/null
  elif command -v dnf >/dev/null || command -v yum >/dev/null; then
    command="dnf install $2"
    may_install || return 1
    # shellcheck disable=SC2086
    as_root "$(command -v dnf || command -v yum)" install -y -q $2 >/dev/null
  else
    command="(your package manager) $2"
    return 1
  fi
}

find_python() {
  for candidate in python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

if ! [ -x "$venv/bin/python" ]; then
  if ! python=$(find_python); then
    install_packages "python3 python3-venv" "python3.11" || true
    python=$(find_python) || {
      say "Python 3.11 or newer with its venv module is needed: install it (Debian 12: apt-get install python3-venv)"
      exit 1
    }
  fi
  say "Making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi
say "Installing the Python packages"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c packaging/constraints.txt -e '.[dev]'

missing=""
for tool in rpm rpmbuild createrepo_c modifyrepo_c dnf; do
  command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ -n "$missing" ]; then
  say "Installing the rpm tools (missing:$missing)"
  install_packages "rpm dnf createrepo-c" "rpm-build createrepo_c dnf" || {
    say "The demo and the tests on real installations need$missing; install them as root: $command"
  }
fi

if ! command -v buf >/dev/null && ! [ -x .tools/node_modules/.bin/buf ]; then
  if command -v npm >/dev/null; then
    say "Installing buf $buf_version"
    npm install --silent --no-save --no-audit --no-fund --prefix .tools "@bufbuild/buf@$buf_version" >/dev/null || {
      say "buf could not be installed; only make check needs it"
    }
  else
    say "buf is missing and so is npm, with which it can be installed; only make check needs it"
  fi
fi
