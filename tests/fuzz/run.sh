#!/usr/bin/env bash
# Every fuzz target for so many seconds (60 unless told otherwise): tests/fuzz/run.sh [SECONDS] [TARGET...]
#
# Needs a nightly compiler, a C++ compiler (libFuzzer is C++) and `cargo install cargo-fuzz`. The seeds are the fixtures
# of the tests; what a run learns stays in tests/fuzz/corpus, what it finds in tests/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
seeds() {
  case $1 in
    decode_audio | live_audio) echo core/tests/fixtures/audio ;;
    open_pack) echo masks/tests/golden ;;
    read_arpa) echo core/tests/lm ;;
    load_checkpoint) printf '%s\n' tests/fixtures/parity/*/ ;;
  esac
}
targets=()
[ $# -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir tests/fuzz)
for target in "${@:-${targets[@]}}"; do
  mapfile -t folders < <(seeds "$target")
  mkdir -p "tests/fuzz/corpus/$target"
  # Code without `unsafe` has no use for a sanitiser, and runs several times faster without.
  cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" "tests/fuzz/corpus/$target" "${folders[@]}" \
    -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1
done
