#!/usr/bin/env bash
# tests/gpu/run.sh [OUT]: on a machine with an NVIDIA GPU (compute capability 8.0, driver 580) and CUDA 13: checks the kernels
# and the model against the CPU, lets every demo clip say the same on both, measures, and writes OUT (gpu-report.md).
#
# Nobody has run this on a GPU yet: please send what it writes.
set -euo pipefail
out=$(realpath -m "${1:-gpu-report.md}")
cd "$(dirname "$0")/../.."
command -v nvcc > /dev/null || { echo "nvcc is not on PATH: install the CUDA 13 toolkit" >&2; exit 1; }
gpu=$(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader) || {
  echo "nvidia-smi finds no GPU here; deploy/cuda/check.sh is what can be checked without one" >&2
  exit 1
}
export S3ROUTER_GPU=required
report() { printf '%s\n' "$@" | tee -a "$out"; }

: > "$out"
report "# s3router on a GPU" "" "- $gpu" "- $(nvcc --version | tail -n 2 | head -n 1)" "- commit $(git rev-parse --short HEAD)" ""

cargo test --release -p s3router-core --test gpu --features cuda
report "- kernels and model equal the CPU's: yes"

cargo build --release -p s3router-server --features cuda
same=0 clips=0
for clip in core/demo/clips/*.wav; do
  language=$(basename "$clip" .wav)
  said() { target/release/s3router transcribe "$clip" --lang "$language" --device "$1"; }
  clips=$((clips + 1))
  if [ "$(said cpu)" = "$(said cuda:0)" ]; then same=$((same + 1)); else report "- $language differs on the GPU"; fi
done
report "- demo clips that read the same on both: $same of $clips" "" '```'

for batch in "1 1 1" "10 1 1" "10 32 1" "10 32 8"; do
  read -r seconds rows languages <<< "$batch"
  command=(bench --backbone random:xlsr-300m --device cuda:0 --seconds "$seconds" --batch "$rows" --languages "$languages" --json)
  report "$ s3router ${command[*]}" "$(target/release/s3router "${command[@]}")"
done
report '```' ""
cargo run --release -q -p s3router-core --example roofline --features cuda -- --measure | tee -a "$out"
echo "written to $out"
[ "$same" = "$clips" ]
