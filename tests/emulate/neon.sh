#!/bin/sh
# The NEON kernels against their specification on a machine that has none: cross-compiled, run by qemu.
# The tests take half a minute, what they need a quarter of an hour of CPU the first time.
# Debian: apt-get install gcc-aarch64-linux-gnu qemu-user; then rustup target add aarch64-unknown-linux-gnu.
set -eu
cd "$(dirname "$0")/../.."
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
exec cargo test --release --target aarch64-unknown-linux-gnu -p s3router-core --lib -- kernels "$@"
