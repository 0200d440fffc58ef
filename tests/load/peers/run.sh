#!/bin/sh
# One command, one table: this machine's RTFx of one random XLS-R 300M in s3router, PyTorch and ONNX Runtime, at
# equal weights, interleaved, with load time, memory and the logits' distance. About an hour on two cores; needs
# python3, cargo and 12 GB of disk, most of it PyTorch (PEERS_DIR, default target/peers; PEERS_VENV to use one at hand).
#   tests/load/peers/run.sh [--batch 1 4 8] [--seconds 10] [--threads 2] [--rounds 3] [--only torch_f32 …] [--json FILE]
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
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p s3router-server
target=${CARGO_TARGET_DIR:-$root/target}
exec "$venv/bin/python" "$here/peers.py" --dir "$dir" --s3router "$target/release/s3router" "$@"
