#!/usr/bin/env bash
# Starts the training command in the background, unless it runs already or is done.
#
#   bash run.sh WORKDIR MODULE [ARGUMENT ...]     python -m MODULE --workdir=WORKDIR ARGUMENT ...
#
# Output goes to run.log beside the package. At the end, WORKDIR gets DONE where the command
# succeeded, and otherwise FAILED: "status N", then the last lines of the log.
set -euo pipefail

supervise=""
if [[ "${1:-}" == --supervise ]]; then
  supervise=yes
  shift
fi
if [[ $# -lt 2 ]]; then
  echo "usage: bash run.sh WORKDIR MODULE [ARGUMENT ...]" >&2
  exit 2
fi
workdir=$1 module=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log=$here/run.log
python=${ATTNJAX_VENV:-$HOME/attnjax-venv}/bin/python
cd "$here"

# mark begin: status 3 where WORKDIR/DONE exists; otherwise removes FAILED.
# mark write NAME LINE ...: writes WORKDIR/NAME, which may be on gs://.
mark() {
  "$python" - "$workdir" "$@" <<'PYTHON'
import sys

from attnjax.errors import UserError
from attnjax.workdir import open_workdir

workdir, action, *rest = sys.argv[1:]
try:
    folder = open_workdir(workdir)
except UserError as error:
    print(f"attnjax: error: {error}", file=sys.stderr)
    sys.exit(2)
if action == "begin":
    if (folder / "DONE").exists():
        sys.exit(3)
    (folder / "FAILED").unlink(missing_ok=True)
else:
    name, *lines = rest
    (folder / name).write_text("\n".join(lines) + "\n")
PYTHON
}

if [[ -z "$supervise" ]]; then
  # Who holds the lock runs: the supervisor and the command inherit it, and a kill releases it.
  exec 9>"$here/run.lock"
  if ! flock --nonblock 9; then
    echo "attnjax: $(hostname): already running"
    exit 0
  fi
  status=0
  mark begin || status=$?
  if [[ $status -eq 3 ]]; then
    echo "attnjax: $workdir/DONE exists: nothing to run"
    exit 0
  elif [[ $status -ne 0 ]]; then
    exit "$status"
  fi
  nohup bash "$here/launch/run.sh" --supervise "$@" >>"$log" 2>&1 </dev/null &
  echo "attnjax: $(hostname): started; log: $log"
  exit 0
fi

shift 2
before=$(($(wc -c <"$log") + 1))
"$python" -m "$module" --workdir="$workdir" "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT HUP
status=0
wait "$child" || status=$? # a signal ends this wait, not the command: it saves first
while kill -0 "$child" 2>/dev/null; do
  wait "$child" || status=$?
done
# Stopped by a signal, the command saves and ends with status 0, but it is not done.
if [[ $status -eq 0 ]] && tail -c +"$before" "$log" | grep -q '^attnjax: stopped'; then
  status=143
fi
echo "$status" >"$here/run.status"
if [[ $status -eq 0 ]]; then
  mark write DONE "status 0"
else
  mark write FAILED "status $status" "$(tail -c +"$before" "$log" | tail -n 5)"
fi
exit "$status"
