#!/bin/sh
# One command, one table: this machine's RTFx of one random XLS-R 300M in s3router, PyTorch and ONNX Runtime, at
# equal weights, interleaved, with load time, memory and the logits' distance. Two rounds take a quarter of an hour on
# two cores, the model and its exports another the first time; needs python3, cargo and 12 GB of disk, most of it
# PyTorch (PEERS_DIR, default target/peers). At hand already: PEERS_VENV, an environment; S3ROUTER, the program.
#   tests/load/peers/run.sh [--batch 1 4 8] [--seconds 10] [--threads 2] [--rounds 2] [--only torch_f32 …]
#                           [--json FILE] [--table FILE]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
dir=${PEERS_DIR:-$root/target/peers}
venv=${PEERS_VENV:-$dir/venv}
mkdir -p "$dir"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
fi
if [ -z "${S3ROUTER:-}" ]; then
    cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p s3router-server
    S3ROUTER=${CARGO_TARGET_DIR:-$root/target}/release/s3router
fi
exec "$venv/bin/python" "$here/peers.py" --dir "$dir" --s3router "$S3ROUTER" "$@"
