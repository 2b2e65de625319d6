#!/usr/bin/env bash
# Builds the package and packs it into FILE (default: the tracked one, which `virke init` gives to new projects).
set -euo pipefail
cd "$(dirname "$0")"
file="${1:-../src/virke/project/vendor/virke-runtime.tgz}"
[ -d node_modules ] || npm ci
rm -rf dist
node_modules/.bin/tsc --project .
mkdir -p "$(dirname "$file")"
mv "$(npm pack --silent)" "$file"
