#!/usr/bin/env bash
# The official conformance suite against a project of two servers, in each pairing of the eras of client and servers; and
# against the fixture by itself, which is the floor.
source "$ROOT/tests/support/lib.sh"
source "$ROOT/tests/support/conformance.sh"

# What the suite runs beyond what is required, and fails: the fixture has no tasks; and by itself it does not check what
# headers say of a call's arguments, which mcpd does.
beyond=(tasks-capability-negotiation tasks-dispatch-and-envelope tasks-lifecycle tasks-mrtr-composition tasks-mrtr-input
    tasks-request-headers tasks-request-state-removal tasks-required-task-error tasks-wire-fields)

say '-- by itself'
background legacy "$MCPCTL_TEST_NODE" "$fixture/server.mjs" legacy http
conforms direct-legacy server 2025-11-25 30 "http://127.0.0.1:$port_of_it/mcp"
background modern "$MCPCTL_TEST_NODE" "$fixture/server.mjs" modern http
conforms direct-modern server 2026-07-28 37 "http://127.0.0.1:$port_of_it/mcp" \
    http-custom-header-server-validation "${beyond[@]}"

say '-- through a project of two servers of an era'
start_mcpd
clone work
mkdir -p work/servers work/projects
for era in legacy modern; do
    for part in first second; do
        cat >work/servers/$era-$part.yaml <<TEXT
kind: server
name: $era-$part
command: ["$MCPCTL_TEST_NODE", "$fixture/server.mjs", "$era", "stdio", "$part"]
env:
  - {name: MCPCTL_TEST_NODE_MODULES, value: "$MCPCTL_TEST_NODE_MODULES"}
TEXT
    done
    printf 'kind: project\nname: %s\nservers: [%s-first, %s-second]\ntoolPrefix: none\n' "$era" "$era" "$era" >work/projects/$era.yaml
done
commit work 'Two projects of two servers'
push_ok work -o wait=100
assert_eq "$(grep -c 'RUNNING server' <<<"${said//·/$'\n'}")" 4 "$said"
background bearer "$MCPCTL_TEST_NODE" "$ROOT/tests/support/bearer.mjs" "$url" "$token"
proxy=http://127.0.0.1:$port_of_it

for servers in legacy modern; do
    conforms legacy-over-$servers server 2025-11-25 30 "$proxy/projects/$servers/mcp"
    conforms modern-over-$servers server 2026-07-28 37 "$proxy/projects/$servers/mcp" "${beyond[@]}"
done
