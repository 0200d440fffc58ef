#!/usr/bin/env bash
# Real clients against the real server: every test_*.py here, with a server of its own on a free port.
#   tests/clients/run.sh [pytest's arguments]      S3ROUTER names another binary than target/release/s3router
set -euo pipefail
cd "$(dirname "$0")"
server=${S3ROUTER:-../../target/release/s3router}
[ -x "$server" ] || cargo build --release -p s3router-server
[ -x .venv/bin/pytest ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
S3ROUTER=$(realpath "$server") exec .venv/bin/pytest -q -p no:cacheprovider "$@"
