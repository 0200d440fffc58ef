#!/usr/bin/env bash
# deploy/cuda/check.sh: all of the CUDA configuration that a machine without a GPU can check.
#
#   1. the committed PTX is what nvcc makes of the sources, and ptxas takes it for every GPU from sm_75 (sm_80) to sm_120
#   2. that PTX, instruction by instruction: results, bounds, races, mutants (tests/emulator)
#   3. `--features cuda` of every crate: lints, links, and the program starts here, says what it lacks, serves by the CPU
#   4. candle's CUDA backend and our kernels behind an emulated driver: the same numbers and the same text as the CPU, from
#      one GPU and from two behind one queue; the same gradients, updates and masks in learning
#
# Without PyPI (no nvcc) 1 is left out, and of 4 what needs candle's own kernels; both are said. Needs cc, python3, readelf.
set -euo pipefail
cd "$(dirname "$0")/../.."
step() { printf '== %s\n' "$1"; }

if [ -n "${STANDIN_NVCC:-}" ] || toolkit=$(deploy/cuda/toolkit.sh); then
  export STANDIN_NVCC=${STANDIN_NVCC:-$toolkit/bin/nvcc} S3ROUTER_CANDLE_PTX=real
  step "PTX"
  deploy/cuda/ptx.sh --check
else
  echo "NOT CHECKED: the PTX, and the whole model on the emulated GPU: no nvcc from PyPI" >&2
  export S3ROUTER_CANDLE_PTX=empty
fi

step "kernels, emulated"
cargo test --release --quiet -p s3router-emulator

step "--features cuda: lint and link"
. deploy/cuda/env.sh
# clippy-driver in rustc's place lints and compiles in one go: `cargo clippy` would compile everything a second time.
RUSTC_WORKSPACE_WRAPPER=$(command -v clippy-driver)
export RUSTC_WORKSPACE_WRAPPER CLIPPY_ARGS="-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__"
cuda=(--features "s3router-core/cuda,s3router-server/cuda,s3router-train/cuda")
cargo build --quiet -p s3router-core -p s3router-server -p s3router-train -p s3router-emulator --lib --bins "${cuda[@]}"
bin=$CARGO_TARGET_DIR/debug
for program in s3router s3router-train; do
  if readelf -d "$bin/$program" | grep -E 'NEEDED.*(cuda|cublas|curand|nvrtc)'; then
    echo "$program needs these libraries to start" >&2
    exit 1
  fi
done

clip=core/demo/clips/tr.wav log=$CARGO_TARGET_DIR/serve.log server=''
trap 'kill $server 2> /dev/null || true' EXIT
# DEVICE: a server on it, at $address.
serve() {
  "$bin/s3router" serve --listen 127.0.0.1:0 --device "$1" 2> "$log" &
  server=$!
  for _ in $(seq 1500); do
    if grep -q 'ready' "$log" || ! kill -0 "$server"; then break; fi
    sleep 0.2
  done
  cat "$log"
  address=$(grep -oE 'http://127[.:0-9]+' "$log" | head -n 1)
}
stop() { kill "$server" && wait "$server"; }
# PATH [FILE]: what the server answers, to a POST if there is a file.
ask() {
  python3 - "$address$1" "${@:2}" << 'PY'
import sys, urllib.request
body = open(sys.argv[2], "rb").read() if len(sys.argv) > 2 else None
print(urllib.request.urlopen(sys.argv[1], body).read().decode())
PY
}
# Half a second from the middle of the clip.
short=$CARGO_TARGET_DIR/short.pcm as_short='/transcribe?lang=tr&format=text&encoding=pcm_s16le&rate=16000'
head -c 56044 "$clip" | tail -c 16000 > "$short"

step "the program without a GPU"
unset S3ROUTER_DEVICE LD_LIBRARY_PATH
serve auto
grep -q 'no usable GPU' "$log" || { echo "--device auto does not say why it took the CPU" >&2; exit 1; }
said=$(ask '/transcribe?lang=tr&format=text' "$clip") shortly=$(ask "$as_short" "$short")
stop
echo "the CPU says: $said"
if "$bin/s3router" transcribe "$clip" --lang tr --device cuda:0 2> "$log"; then exit 1; fi
cat "$log"
grep -q 'try --device cpu' "$log"

step "an emulated GPU behind the driver's functions"
driver=$CARGO_TARGET_DIR/emulated-driver
mkdir -p "$driver"
for name in libcuda.so.1 libcublas.so.13 libcurand.so.10; do ln -sf "$bin/libs3router_emulator.so" "$driver/$name"; done
export LD_LIBRARY_PATH=$driver S3ROUTER_GPU=required S3ROUTER_EMULATED_GPUS=2
cargo test --quiet -p s3router-core -p s3router-server -p s3router-train --test gpu --example roofline "${cuda[@]}"
if [ "$S3ROUTER_CANDLE_PTX" = real ]; then
  emulated=$("$bin/s3router" transcribe "$clip" --lang tr --device cuda:0)
  [ "$emulated" = "$said" ] || { printf 'CPU: %s\nemulated GPU: %s\n' "$said" "$emulated" >&2; exit 1; }
  echo "the emulated GPU says: $emulated"

  step "two emulated GPUs behind the one queue"
  serve cuda:0,1
  # The first runs alone, the two that wait for it become a batch, and that is cut.
  asked=()
  for i in 1 2 3; do
    ask "$as_short" "$short" > "$short.$i" & asked+=($!)
  done
  wait "${asked[@]}"
  ask /metrics | grep '^s3router_devices 2$'
  stop
  ! grep 'a device failed' "$log" || exit 1
  for i in 1 2 3; do
    [ "$(cat "$short.$i")" = "$shortly" ] || { printf 'CPU: %s\nGPUs: %s\n' "$shortly" "$(cat "$short.$i")" >&2; exit 1; }
  done
  echo "all three say: $shortly"
fi
echo "CUDA configuration: checked. No real GPU was involved."
