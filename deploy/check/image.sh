#!/usr/bin/env bash
# Builds the CPU image from deploy/Dockerfile without a container engine, runs it as Kubernetes' restricted profile
# would, asks it for a transcript, and stops it in the middle of its work.
#
#   deploy/check/image.sh              # packs target/release/s3router (built here if need be): about a minute
#   BUILD=source deploy/check/image.sh # compiles inside, stage by stage: 20 CPU minutes when cold
#
# Debian with root, buildah, runc and mmdebstrap (installed with apt-get when missing). Bases are made from Debian's
# packages: the one that runs holds what distroless/cc holds, and no shell either. PORT, WORK and PROFILE may be set.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/check/lib.sh

build=${BUILD:-prebuilt} profile=${PROFILE:-release} port=${PORT:-18080} work=${WORK:-$PWD/target/check}
name=s3router-check-$$
store=(buildah --storage-driver overlay --root "$work/store" --runroot "$work/run")
mkdir -p "$work"

[ "$(id -u)" = 0 ] || skip "image: needs root (buildah's chroot isolation)"
if ! have buildah runc mmdebstrap; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends buildah runc mmdebstrap; } >/dev/null 2>&1 ||
        skip "image: buildah, runc and mmdebstrap cannot be installed"
fi

# A root file system of Debian's packages as an image: NAME VARIANT PACKAGES [DOCKERFILE LINES]
base() {
    "${store[@]}" inspect "localhost/$1" >/dev/null 2>&1 && return
    local mirror
    mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    mmdebstrap --quiet --variant="$2" --include="$3" bookworm "$work/$1.tar" ${mirror:+"$mirror"} ||
        skip "image: Debian's packages cannot be had"
    printf 'FROM scratch\nADD %s.tar /\n%s\n' "$1" "${4:-}" >"$work/$1.Dockerfile"
    "${store[@]}" bud --quiet --isolation chroot -t "localhost/$1" -f "$work/$1.Dockerfile" "$work" >/dev/null
    rm "$work/$1.tar"
}
base base extract base-files,netbase,tzdata,ca-certificates,libc6,libgcc-s1,libstdc++6

image=localhost/s3router:cpu-$build
options=(--isolation chroot --format docker -t "$image" -f deploy/Dockerfile --build-arg BASE_IMAGE=localhost/base
    --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    --build-arg CREATED="$(date -u +%FT%TZ)")
if [ "$build" = source ]; then
    base rust minbase gcc,libc6-dev,ca-certificates \
        'ENV PATH=/usr/local/rustup/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /usr/local/cargo/registry /usr/local/rustup/toolchain'
    # The toolchain, the crates already fetched and the compiled dependencies come from outside; the rest is as written.
    mkdir -p "$work/image-target" "${CARGO_HOME:-$HOME/.cargo}/registry"
    options+=(--layers --build-arg RUST_IMAGE=localhost/rust --build-arg PROFILE="$profile"
        -v /etc/ssl/certs:/etc/ssl/certs:ro -v "$(rustc --print sysroot):/usr/local/rustup/toolchain:ro"
        -v "${CARGO_HOME:-$HOME/.cargo}/registry:/usr/local/cargo/registry" -v "$work/image-target:/src/target")
else
    program=${PROGRAM:-target/$profile/s3router}
    [ -n "${PROGRAM:-}" ] || cargo build --quiet --profile "$profile" -p s3router-server
    (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq tini >/dev/null && dpkg-deb -x tini_*.deb tini && rm tini_*.deb) ||
        skip "image: Debian's tini cannot be had"
    # What the stage `build` leaves; the Dockerfile's own last stage makes the image of it.
    rm -rf "$work/stage"
    mkdir -p "$work/stage/cache"
    install -D -s "$program" "$work/stage/rootfs/usr/local/bin/s3router"
    install -D "$work/tini/usr/bin/tini-static" "$work/stage/rootfs/usr/local/bin/tini"
    install -D -m 644 -t "$work/stage/rootfs/usr/share/doc/s3router" LICENSE-MIT LICENSE-APACHE
    options+=(--build-context build="$work/stage")
fi
nice -n "${NICE:-0}" "${store[@]}" bud "${options[@]}" . >"$work/bud.log" 2>&1 ||
    { tail -30 "$work/bud.log" >&2; fail "the image does not build"; }

# ---- what the image says of itself -------------------------------------------------------------------------------

"${store[@]}" inspect --type image "$image" >"$work/image.json"
python3 - "$work/image.json" <<'PY' || fail "the image's configuration"
import json, sys
image = json.load(open(sys.argv[1]))["Docker"]["config"]
assert image["User"] == "65532:65532", image["User"]
assert image["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/s3router", "health"], image.get("Healthcheck")
assert {"version", "revision", "licenses", "source"} <= {l.rsplit(".", 1)[1] for l in image["Labels"]}, image["Labels"]
PY

container=$("${store[@]}" from "$image")
bundle=$work/bundle
rm -rf "$bundle"
mkdir -p "$bundle"
rootfs=$("${store[@]}" mount "$container")
cleanup() {
    runc delete --force "$name" >/dev/null 2>&1 || true
    "${store[@]}" umount "$container" >/dev/null 2>&1 || true
    "${store[@]}" rm "$container" >/dev/null 2>&1 || true
    # Layers of the build are worth keeping, a program of last time is not.
    [ "$build" = source ] || "${store[@]}" rmi --prune >/dev/null 2>&1 || true
}
trap cleanup EXIT
[ ! -e "$rootfs/bin/sh" ] || fail "the base has a shell: it proves less than it should"
[ "$(stat -c %u "$rootfs/var/cache/s3router")" = 65532 ] || fail "the cache is not the user's"

# ---- run, ask, stop ----------------------------------------------------------------------------------------------

python3 deploy/check/oci.py "$work/image.json" "$rootfs" "$bundle"
# The bundle's own copy of the setting, since the port must be free here.
sed -i "s/S3ROUTER_LISTEN=0.0.0.0:8080/S3ROUTER_LISTEN=127.0.0.1:$port/" "$bundle/config.json"
url=http://127.0.0.1:$port
begun=$(now)
runc run --bundle "$bundle" "$name" >"$work/server.log" 2>&1 &
runner=$!
wait_ready "$url" 60 || { cat "$work/server.log" >&2; fail "never ready"; }
ready=$(($(now) - begun))

pid=$(runc state "$name" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
[ "$(awk '/^Uid:/ {print $2}' "/proc/$pid/status")" = 65532 ] || fail "it does not run as 65532"
[ "$(awk '/^NSpid:/ {print $NF}' "/proc/$pid/status")" = 1 ] || fail "it is not PID 1 of its namespace"
awk '$5 == "/" {exit $6 !~ /(^|,)ro(,|$)/}' "/proc/$pid/mountinfo" || fail "its root can be written"
[ "$(awk '/^CapEff:/ {print $2}' "/proc/$pid/status")" = 0000000000000000 ] || fail "it has capabilities"
runc exec "$name" /usr/local/bin/s3router health || fail "its own health check says no"

expected=$(python3 -c 'import json; print(next(c["expected"] for c in json.load(open("core/demo/clips/clips.json")) if c["lang"] == "zh_TW"))')
heard=$(curl -fsS --data-binary @core/demo/clips/zh_TW.flac "$url/transcribe?lang=zh_TW&format=text")
[ "$heard" = "$expected" ] || fail "zh_TW: heard '$heard', expected '$expected'"
echo "POST /transcribe?lang=zh_TW: $heard"

# SIGTERM to PID 1 with work in hand: what was accepted is answered, then it leaves with success.
head -c 480000 /dev/zero | tr '\0' '\377' >"$work/minute.ulaw"
clients=()
for i in 1 2 3 4; do
    curl -s -o /dev/null -w '%{http_code}' --data-binary @"$work/minute.ulaw" \
        "$url/transcribe?lang=tr&encoding=mulaw&rate=8000" >"$work/code.$i" &
    clients+=($!)
done
wait_for 10 in_work "$url" 4 || fail "four requests never were in work at once"
begun=$(now)
runc kill "$name" TERM
wait "$runner" || { tail -5 "$work/server.log" >&2; fail "it left with an error"; }
left=$(($(now) - begun))
wait "${clients[@]}" || fail "a client was cut off"
for i in 1 2 3 4; do
    [ "$(cat "$work/code.$i")" = 200 ] || fail "an accepted request was answered $(cat "$work/code.$i")"
done
[ "$left" -lt 30000 ] || fail "it took $left ms to leave: the deadline is 30 s"

# Other commands are PID 1 as well: a signal must end them, not wait for Docker's ten seconds.
python3 deploy/check/oci.py "$work/image.json" "$rootfs" "$bundle" bench --seconds 600
runc run --bundle "$bundle" "$name" >/dev/null 2>&1 &
runner=$!
wait_for 10 running "$name" || fail "bench does not start"
sleep 1
begun=$(now)
runc kill "$name" TERM
wait "$runner" && fail "bench ended by itself: the signal was not tested" || code=$?
[ "$code" = 143 ] || fail "bench ended with $code at SIGTERM, not 143"
[ $(($(now) - begun)) -lt 5000 ] || fail "bench took longer than 5 s to end at SIGTERM"

bytes() { du -sb --apparent-size "$1" | cut -f1; }
printf 'image %d MB (program %d MB) · ready after %d ms · SIGTERM with four minutes of audio accepted: gone after %d ms\n' \
    $(($(bytes "$rootfs") / 1000000)) $(($(bytes "$rootfs/usr/local/bin/s3router") / 1000000)) "$ready" "$left"
