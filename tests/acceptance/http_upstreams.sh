#!/usr/bin/env bash
# All of MCP by the TypeScript SDK of each era, through the gateway before servers that are spoken to over HTTP: streamable in
# each era, and with server-sent events.
source "$ROOT/tests/support/lib.sh"
source "$ROOT/tests/support/conformance.sh"
[[ -x $BIN/examples/gateway ]] || needs the-example-gateway-that-cargo-builds

for way in legacy-http legacy-sse modern-http; do
    read -r era transport <<<"${way/-/ }"
    urls=()
    for part in first second; do
        background "$way-$part" "$MCPCTL_TEST_NODE" "$fixture/server.mjs" "$era" "$transport" "$part"
        case $transport in
            sse) urls+=("sse+http://127.0.0.1:$port_of_it/sse") ;;
            *) urls+=("http://127.0.0.1:$port_of_it/mcp") ;;
        esac
    done
    for client in legacy modern; do
        # A gateway of its own for each: what the client before gave up might still be what a server asks about.
        background "$way-$client" "$BIN/examples/gateway" "${urls[@]}"
        expect 0 timeout 120 "$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/session.mjs" \
            "http://127.0.0.1:$port_of_it/mcp" none "$client" server-0 server-1
        say "$client over $way: $out"
    done
done
