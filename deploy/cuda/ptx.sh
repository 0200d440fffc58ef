#!/bin/sh
# ptx.sh [--check]: makes core/src/kernels/cuda/*.ptx from the .cuh beside them, or compares; then ptxas for each GPU.
#
# nvcc is $STANDIN_NVCC, else the one of toolkit.sh (from PyPI). The PTX is committed, so that nobody needs nvcc for it.
set -e
here=$(cd "$(dirname "$0")" && pwd)
kernels=$here/../../core/src/kernels/cuda
bin=$(dirname "${STANDIN_NVCC:-$("$here/toolkit.sh")/bin/nvcc}")
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
for each in expand:75 rows:75 topk:75 masked_gemm:80; do
  name=${each%:*} least=${each#*:}
  "$bin/nvcc" --ptx -x cu -std=c++17 -O3 -arch=compute_"$least" -o "$made/$name.ptx" "$kernels/$name.cuh"
  if [ "$1" = --check ]; then
    cmp "$made/$name.ptx" "$kernels/$name.ptx" || {
      echo "$name.ptx is not what nvcc makes of $name.cuh: run deploy/cuda/ptx.sh" >&2
      exit 1
    }
  else
    cp "$made/$name.ptx" "$kernels/$name.ptx"
  fi
  for gpu in 75 80 86 89 90 100 120; do
    [ "$gpu" -lt "$least" ] || "$bin/ptxas" -v -arch=sm_$gpu -o /dev/null "$made/$name.ptx" 2> "$made/log"
    # Registers that spill to memory would make nonsense of the arithmetic in the .cuh files.
    ! grep -E '[1-9][0-9]* bytes spill' "$made/log" || { echo "$name spills on sm_$gpu" >&2; exit 1; }
  done
done
echo "PTX: four files, as nvcc makes them, fit for sm_75 (masked_gemm: sm_80) to sm_120"
