#!/usr/bin/env bash
# tests/gpu/run.sh [OUT]: on a machine with an NVIDIA GPU (compute capability 7.5, driver 580) and CUDA 13: checks the kernels
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
report "- kernels, model and, with two GPUs, a fleet equal the CPU's: yes"
cargo test --release -p s3router-train --test gpu --features cuda
report "- gradients and updates of learning equal the CPU's: yes"

cargo build --release -p s3router-server -p s3router-train --features s3router-server/cuda,s3router-train/cuda
same=0 clips=0
for clip in core/demo/clips/*.wav; do
  language=$(basename "$clip" .wav)
  said() { target/release/s3router transcribe "$clip" --lang "$language" --device "$1"; }
  clips=$((clips + 1))
  if [ "$(said cpu)" = "$(said cuda:0)" ]; then same=$((same + 1)); else report "- $language differs on the GPU"; fi
done
report "- demo clips that read the same on both: $same of $clips" "" '```'

for batch in "1 1 1 auto" "10 1 1 auto" "10 32 1 auto" "10 32 8 auto" "10 32 8 f16"; do
  read -r seconds rows languages precision <<< "$batch"
  command=(bench --backbone random:xlsr-300m --device cuda:0 --seconds "$seconds" --batch "$rows" --languages "$languages"
    --precision "$precision" --json)
  report "$ s3router ${command[*]}" "$(target/release/s3router "${command[@]}")"
done
gpus=$(nvidia-smi --list-gpus | wc -l)
if [ "$gpus" -gt 1 ]; then
  # All GPUs behind one queue, and the first alone under the same load.
  cargo build --release -q -p s3router-load
  for device in cuda:0 "cuda:$(seq -s , 0 $((gpus - 1)))"; do
    report "$ S3ROUTER_DEVICE=$device s3router-load mixture" \
      "$(S3ROUTER_DEVICE=$device target/release/s3router-load mixture --clients 256 --seconds 10)"
  done
fi
train=(bench -q -p s3router-train --bench step --features cuda -- xlsr 24 --device cuda:0)
case "$gpu" in *", 7."*) ;; *) train+=(--bf16) ;; esac
report "$ cargo ${train[*]}" "$(cargo "${train[@]}")"
report '```' ""
cargo run --release -q -p s3router-core --example roofline --features cuda -- --measure | tee -a "$out"
echo "written to $out"
[ "$same" = "$clips" ]
