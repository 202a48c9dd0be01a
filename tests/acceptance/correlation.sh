#!/usr/bin/env bash
# The id that a client sees with a failed call is the one under which the log has it, and /metrics has counted it.
source "$ROOT/tests/support/lib.sh"
needs git curl jq python3

start_mcpd --log-format json
clone work
fake work/servers/fake.yaml fake
mkdir work/projects
printf 'kind: project\nname: demo\nservers: [fake]\n' >work/projects/demo.yaml
commit work 'A server'
push_ok work
wait_for converged
session_open /projects/demo/mcp

correlation() { sed -n 's/^[Xx]-[Cc]orrelation-[Ii]d: *\([^[:space:]]*\).*/\1/p' "$here/.headers"; }
# line ID: the log's one line about the request.
line() {
    local found
    found=$(jq -c --arg id "$1" 'select(.fields.correlation == $id).fields' <"$here/mcpd.log")
    [[ $(wc -l <<<"$found") == 1 && -n $found ]] || fail "not one line about $1: $found"
    printf '%s\n' "$found"
}
metrics() { curl -sS -H "Authorization: Bearer $token" "$url/metrics"; }

# What goes well has an id and no line.
assert_eq "$(call_text fake__echo '{"message":"well"}')" well
well=$(correlation)
assert_line "$well" '[0-9a-f]{32}'

# A server that dies in the middle of a call.
text=$(call_text fake__die '{}')
seen=$(correlation)
assert_line "$seen" '[0-9a-f]{32}'
assert_contains "$text" "(correlation id $seen)"
died=$(line "$seen")
assert_eq "$(jq -r '[.project, .server, .method, .tool, .era, .outcome] | join(" ")' <<<"$died")" \
    'demo fake tools/call fake__die legacy unavailable'
assert_contains "$(jq -r .reason <<<"$died")" 'server fake was lost during the call'
assert_contains "$(jq -r .caller <<<"$died")" admin
assert_eq "$(jq -r '.ms | type' <<<"$died")" number

# What nobody has.
call_text fake__nope '{}' >/dev/null
assert_eq "$(line "$(correlation)" | jq -r .outcome)" unknown

assert_eq "$(jq -c --arg id "$well" 'select(.fields.correlation == $id)' <"$here/mcpd.log")" '' 'a call that went well has no line'
assert_lacks "$(<"$here/mcpd.log")" "$token" 'the log tells the token'

# The counters, for those who may see the status and for nobody else.
figures=$(metrics)
assert_contains "$figures" 'mcpd_mcp_requests_total{project="demo",server="fake",method="tools/call",tool="fake__echo",outcome="ok"} 1'
assert_contains "$figures" 'mcpd_mcp_requests_total{project="demo",server="fake",method="tools/call",tool="fake__die",outcome="unavailable"} 1'
assert_contains "$figures" 'mcpd_mcp_requests_total{project="demo",server="",method="tools/call",tool="",outcome="unknown"} 1'
assert_eq "$(curl -sS -o /dev/null -w '%{http_code}' "$url/metrics")" 401
