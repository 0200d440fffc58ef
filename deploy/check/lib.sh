# shellcheck shell=bash
# Shared by the checks of this folder; sourced, not run.

# Something this machine lacks: said, and not a failure.
skip() {
    echo "SKIP $*"
    exit 0
}

fail() {
    echo "FAIL $*" >&2
    exit 1
}

# PROGRAM...: whether all of them are here; `command -v` itself is content with one.
have() {
    local program
    for program; do command -v "$program" >/dev/null || return 1; done
}

# Milliseconds.
now() { date +%s%3N; }

# SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.02
    done
}

ready() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 2 "$1/readyz")" = 200 ]; }

# URL SECONDS
wait_ready() { wait_for "$2" ready "$1"; }

# URL N: at least N transcriptions are being answered now.
in_work() {
    local n
    n=$(curl -s --max-time 2 "$1/metrics" | sed -n 's/^s3router_requests_in_flight{route="\/transcribe"} //p')
    [ "${n:-0}" -ge "$2" ]
}

# NAME: the container runs.
running() { runc state "$1" 2>/dev/null | grep -q '"status": "running"'; }
