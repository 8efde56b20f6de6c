#!/usr/bin/env bash
# Prepares a machine: a virtual environment with the package and what its TPU needs.
#
# Run again, it does nothing unless the requirements have changed. The package itself is installed
# in place, so that new code needs no installation.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${ATTNJAX_VENV:-$HOME/attnjax-venv}
extras=${ATTNJAX_EXTRAS:-tpu,gcp}
stamp=$venv/.attnjax-requirements
wanted=$(cat "$here/pyproject.toml" "$here/constraints.txt" <(echo "$extras") | cksum)

if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
  echo "attnjax: $(hostname): already set up"
  exit 0
fi

# The images come with Python 3.10, too old for the package; some have no pip or venv either.
suitable() {
  command -v "$1" >/dev/null &&
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
      2>/dev/null
}

make_environment() {
  local each
  for each in python3.12 python3.13 python3.11 python3; do
    if suitable "$each"; then
      "$each" -m venv --clear "$venv"
      return
    fi
  done
  if ! python3 -m pip --version >/dev/null 2>&1; then
    # A fresh machine updates itself, and holds the package manager's lock for minutes.
    sudo apt-get -o DPkg::Lock::Timeout=600 update --quiet
    sudo apt-get -o DPkg::Lock::Timeout=600 install --yes --quiet python3-pip
  fi
  # By the environment, because the images' old pip does not know the option.
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
  python3 -m uv venv --quiet --clear --seed --python 3.12 "$venv"
}

rm -f "$stamp"
make_environment
"$venv/bin/python" -m pip install --quiet --constraint "$here/constraints.txt" \
  --editable "${here}[$extras]"
"$venv/bin/python" -c 'import attnjax'
echo "$wanted" >"$stamp"
echo "attnjax: $(hostname): set up with $("$venv/bin/python" --version)"
