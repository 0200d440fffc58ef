#!/usr/bin/env bash
# Two replicas behind nginx with the configuration that deploy/nginx ships: they answer alike, one can be stopped
# under load without a failed request, and one can be killed without more than its requests in flight failing.
#
#   deploy/check/replicas.sh           # about a minute; PROGRAM, PORT and WORK may be set
#
# Debian with nginx (installed with apt-get when missing and root); everything on the loopback.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/check/lib.sh

work=${WORK:-$PWD/target/check}/replicas port=${PORT:-18090} profile=${PROFILE:-release}
program=${PROGRAM:-target/$profile/s3router}
clients=4
[ -n "${PROGRAM:-}" ] || cargo build --quiet --profile "$profile" -p s3router-server
if ! have nginx; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light; } >/dev/null 2>&1 ||
        skip "replicas: nginx cannot be installed"
fi
rm -rf "$work"
mkdir -p "$work"
pids=()
cleanup() { kill "${pids[@]}" 2>/dev/null || true; }
trap cleanup EXIT

# N: starts replica N; its process id is in replica[N].
declare -A replica
start() {
    "$program" serve --listen "127.0.0.1:$((port + $1))" 2>>"$work/replica-$1.log" &
    replica[$1]=$!
    pids+=($!)
    wait_ready "http://127.0.0.1:$((port + $1))" 60 || fail "replica $1 is not ready: see $work/replica-$1.log"
}
start 1
start 2

# The shipped file, with ports of this test and logs that say which replica answered.
{
    echo "daemon off; pid $work/nginx.pid; error_log $work/error.log; worker_processes 1; events {}"
    echo "http { log_format who '\$status \$upstream_addr \$upstream_status'; access_log $work/access.log who;"
    for temp in client_body proxy fastcgi uwsgi scgi; do echo "${temp}_temp_path $work/$temp;"; done
    sed "s/127.0.0.1:8080/127.0.0.1:$port/; s/127.0.0.1:8081/127.0.0.1:$((port + 1))/; s/127.0.0.1:8082/127.0.0.1:$((port + 2))/" \
        deploy/nginx/s3router.conf
    echo "}"
} >"$work/nginx.conf"
nginx -t -q -e "$work/error.log" -c "$work/nginx.conf" 2>"$work/test.log" || { cat "$work/test.log" >&2; fail "nginx refuses its configuration"; }
nginx -e "$work/error.log" -c "$work/nginx.conf" &
pids+=($!)
url=http://127.0.0.1:$port
wait_ready "$url" 10 || fail "nginx does not answer"

# ---- both answer alike -------------------------------------------------------------------------------------------

clips=(core/demo/clips/*.{wav,mp3,ogg,opus,flac,webm,m4a})
# URL CLIP: everything of an answer but its timings and its id.
answer() {
    local lang=${2##*/}
    curl -fsS --data-binary @"$2" "$1/transcribe?lang=${lang%.*}&words=true" |
        python3 -c 'import json, sys; a = json.load(sys.stdin); del a["timing"], a["request_id"]; print(json.dumps(a, sort_keys=True))'
}
for clip in "${clips[@]}"; do
    first=$(answer "http://127.0.0.1:$((port + 1))" "$clip")
    [ "$first" = "$(answer "http://127.0.0.1:$((port + 2))" "$clip")" ] || fail "$clip: the replicas differ"
    [ "$first" = "$(answer "$url" "$clip")" ] || fail "$clip: the balancer's answer differs"
done
echo "${#clips[@]} clips: the same answer from replica 1, replica 2 and the balancer, words, times and pack included"

# ---- one leaves under load ---------------------------------------------------------------------------------------

# Clip after clip until told to stop; a line for each: its status, 000 for a connection that broke.
load() {
    local i
    while [ ! -e "$work/stop" ]; do
        for i in "${!clips[@]}"; do
            [ ! -e "$work/stop" ] || return 0
            local clip=${clips[$(((i + $1) % ${#clips[@]}))]} lang
            lang=${clip##*/}
            curl -s -o /dev/null -w '%{http_code}\n' --max-time 60 --data-binary @"$clip" \
                "$url/transcribe?lang=${lang%.*}" || true
        done
    done
}
answers() { cat "$work"/codes.* 2>/dev/null | wc -l; }
at_least() { [ "$(answers)" -ge "$1" ]; }

answer_from_2() {
    answer "$url" "${clips[0]}" >/dev/null
    tail -1 "$work/access.log" | grep -q ":$((port + 2)) 200"
}

# SIGNAL: replica 2 gets it in the middle of a load; sets total and failed.
lose() {
    rm -f "$work/stop" "$work"/codes.*
    : >"$work/access.log"
    local loads=() i before
    for ((i = 0; i < clients; i++)); do
        load "$i" >"$work/codes.$i" &
        loads+=($!)
    done
    wait_for 60 at_least 60 || fail "the load does not get going"
    wait_for 10 in_work "http://127.0.0.1:$((port + 2))" 1 || fail "replica 2 has nothing to do"
    before=$(answers)
    kill "-$1" "${replica[2]}"
    code=0
    { wait "${replica[2]}" || code=$?; } 2>/dev/null
    wait_for 60 at_least $((before + 60)) || fail "after the loss of a replica no answers come"
    touch "$work/stop"
    wait "${loads[@]}"
    total=$(answers)
    failed=$(cat "$work"/codes.* | grep -vc '^200$' || true)
    grep -q ":$((port + 2)) 200" "$work/access.log" || fail "replica 2 took no part in the load"
}

lose TERM
[ "$code" = 0 ] || fail "replica 2 did not leave cleanly: $code"
[ "$failed" = 0 ] || fail "SIGTERM to one of two: $failed of $total requests failed"
echo "SIGTERM to one of two: $total requests by $clients clients, none failed"

start 2
# nginx tries a replica again when its fail_timeout is over.
wait_for 30 answer_from_2 || fail "nginx does not take replica 2 back"
lose KILL
[ "$failed" -le "$clients" ] || fail "SIGKILL to one of two: $failed of $total requests failed, more than were in flight"
echo "SIGKILL to one of two: $total requests by $clients clients, $failed failed"
