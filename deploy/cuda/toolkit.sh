#!/bin/sh
# toolkit.sh [FOLDER]: nvcc 13.0 from PyPI into FOLDER (target/cuda-toolkit), 101 MB; prints where it is.
#
# 13.0 and not the newest: its PTX (version 9.0) is read by drivers from 580 on. `--with-headers` adds what candle's
# own kernels need (3 MB). Not needed to build s3router on a machine that has a CUDA toolkit.
set -e
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../target/cuda-toolkit}
home=$folder/nvidia/cu13
if ! [ -x "$home/bin/nvcc" ] || ! [ -d "$home/include/cccl" ]; then
  python3 -m pip install --quiet --target "$folder" "cuda-toolkit[nvcc,crt,nvvm,cudart,cccl]==13.0.2" >&2
fi
cd "$home" && pwd
