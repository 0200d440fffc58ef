# shellcheck shell=bash
# . deploy/cuda/env.sh    then `cargo build --features cuda` works on a machine without CUDA: for checks, not for a GPU.
#
# candle-kernels is "compiled" by nvcc-standin, and the CUDA libraries are linked lazily, so that the program starts
# anywhere. Everything lands in CARGO_TARGET_DIR (target/cuda), apart from other builds.
_here=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$_here/../../target/cuda}
export S3ROUTER_LAZY_CUDA=$CARGO_TARGET_DIR/lazy
export NVCC=$_here/nvcc-standin CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-0}
python3 "$_here/lazy.py" "$S3ROUTER_LAZY_CUDA"

# Kernels that were made without nvcc are made again once there is one, and the other way round.
_kernels=$CARGO_TARGET_DIR/kernels-by
if [ -f "$_kernels" ] && [ "$(cat "$_kernels")" != "${STANDIN_NVCC:-nobody}" ]; then
  cargo clean --quiet --manifest-path "$_here/../../Cargo.toml" -p candle-kernels
fi
echo "${STANDIN_NVCC:-nobody}" > "$_kernels"
