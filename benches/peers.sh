#!/usr/bin/env bash
# Installs the peers that `cargo bench --bench call` measures beside mcpd, into target/tools/peers. Each Python program has an
# environment of its own: they want different versions of one SDK.
set -Eeuo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
peers=$root/target/tools/peers
mkdir -p "$peers/npm"
for package in mcp-proxy==0.13.0 fastmcp==4.1.0; do
    place=$peers/${package%%==*}
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet "$package"
done
(cd "$peers/npm" && npm install --silent --ignore-scripts --no-audit --no-fund mcp-proxy@6.7.19 supergateway@4.0.0)
