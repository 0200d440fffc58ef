#!/bin/sh
# One command, one table: this machine's RTFx of a random XLS-R 300M in s3router, PyTorch and ONNX Runtime,
# at equal weights, interleaved. Needs python3, cargo and about 8 GB of disk (PEERS_DIR, default target/peers).
#   tests/load/peers/run.sh [--batch 1 4] [--seconds 10] [--threads 2] [--rounds 3] [--only s3router torch_f32 …]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
dir=${PEERS_DIR:-$root/target/peers}
mkdir -p "$dir"
if [ ! -x "$dir/venv/bin/python" ]; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
fi
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p s3router-server
target=${CARGO_TARGET_DIR:-$root/target}
exec "$dir/venv/bin/python" "$here/peers.py" --dir "$dir" --s3router "$target/release/s3router" "$@"
