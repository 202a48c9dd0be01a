#!/usr/bin/env bash
# The official conformance suite plays the servers: what it judges is the gateway as their client.
source "$ROOT/tests/support/lib.sh"
source "$ROOT/tests/support/conformance.sh"
[[ -x $BIN/examples/gateway ]] || needs the-example-gateway-that-cargo-builds

command="$MCPCTL_TEST_NODE $fixture/client.mjs $BIN/examples/gateway"
extensions=(auth/client-credentials-basic auth/client-credentials-jwt auth/dpop auth/dpop-nonce
    auth/enterprise-managed-authorization auth/wif-jwt-bearer)
conforms client-2025-11-25 client 2025-11-25 18 "$command" "${extensions[@]}"
conforms client-2026-07-28 client 2026-07-28 32 "$command" "${extensions[@]}"

# Nothing but what needs OAuth may be expected to fail, in the end.
assert_eq "$(grep -hE '^ *- ' "$fixture"/baseline/client-*.yaml | grep -vE ' auth/.*$' || true)" '' \
    'a scenario without OAuth is expected to fail'
