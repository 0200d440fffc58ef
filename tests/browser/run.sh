#!/usr/bin/env bash
# The page in a real browser, a clip played as its microphone. Needs Chromium (installed by apt where that can be
# done) and Node; S3ROUTER names another binary than target/release/s3router, SHOTS a folder for screenshots.
set -euo pipefail
cd "$(dirname "$0")"
export S3ROUTER=${S3ROUTER:-../../target/release/s3router}
[ -x "$S3ROUTER" ] || cargo build --release -p s3router-server
export CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
if [ -z "$CHROMIUM" ]; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
  CHROMIUM=$(command -v chromium)
fi
[ -d node_modules/playwright-core ] || npm install --silent --no-audit --no-fund
exec node --test --test-concurrency=1 page.test.mjs
