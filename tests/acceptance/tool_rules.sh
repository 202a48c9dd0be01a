#!/usr/bin/env bash
# toolPrefix and tools.allow and deny: what a project shows. A hidden tool is in no list, and calling it is answered as calling
# one that does not exist; a clash hides every claimant and is told; what a server that went listed last is marked.
source "$ROOT/tests/support/lib.sh"
needs git curl jq python3

start_mcpd
clone work
fake work/servers/a.yaml a
fake work/servers/b.yaml b
printf 'kind: project\nname: ops\nservers: [a, b]\n' >work/ops.yaml
commit work 'Two servers with the same tools'
push_ok work
wait_for converged

listed() { session_open "$1"; mcp tools/list | jq -r '.result.tools[].name' | sort | paste -sd' '; }
lists() { [[ $(listed "$1") == "$2" ]] || { listed "$1"; false; }; }

wait_for lists /projects/ops/mcp 'a__die a__echo a__env a__pid b__die b__echo b__env b__pid'

# A rule by flags; the names are those that the project shows, and deny wins.
expect 0 mcpctl patch project ops 'tools.allow=["a__*", "b__pid"]' 'tools.deny=["*__die", "*__env"]'
wait_for lists /projects/ops/mcp 'a__echo a__pid b__pid'
# The same rules hold at the endpoints of the project's servers, whose names are their own; a server by itself has none.
wait_for lists /projects/ops/servers/a/mcp 'echo pid'
wait_for lists /projects/ops/servers/b/mcp 'pid'
lists /servers/b/mcp 'die echo env pid'

# unknown PATH TOOL: exactly as a tool that does not exist.
unknown() {
    session_open "$1"
    local hidden missing
    hidden=$(mcp tools/call "{\"name\":\"$2\",\"arguments\":{}}" | jq -c 'del(.id)' | sed "s/$2/TOOL/g")
    missing=$(mcp tools/call "{\"name\":\"$3\",\"arguments\":{}}" | jq -c 'del(.id)' | sed "s/$3/TOOL/g")
    assert_eq "$hidden" "$missing"
    assert_contains "$hidden" 'Unknown tool: TOOL'
}
unknown /projects/ops/mcp a__die a__nothing
unknown /projects/ops/mcp b__echo b__nothing
unknown /projects/ops/servers/a/mcp die nothing
session_open /projects/ops/mcp
assert_eq "$(call_text a__echo '{"message":"hi"}')" hi
marked_is 2 || fail 'a hidden call reached its server'

# What is hidden is told to people.
tools=$(mcpctl get tools -p ops -o json)
assert_eq "$(jq -r '.[] | select(.name == "a__die") | .state' <<<"$tools")" 'hidden by rule'
assert_eq "$(jq -r '.[] | select(.name == "a__echo") | .state' <<<"$tools")" ok
assert_eq "$(jq '[.[] | select(.state == "ok") | .schemaTokens] | add' <<<"$tools")" \
    "$(api GET /projects/ops | jq .status.schemaTokens)"
expect 0 mcpctl get projects -o wide
assert_contains "$out" TOKENS

# Without a prefix the same name of two servers is nobody's, and that is said.
expect 0 mcpctl patch project ops toolPrefix=none 'tools.allow=null' 'tools.deny=["die"]'
wait_for lists /projects/ops/mcp ''
expect 0 mcpctl get tools -p ops
assert_line "$out" 'echo +a +clash .*'
assert_line "$out" 'die +b +hidden by rule .*'
expect 0 mcpctl describe project ops
assert_contains "$out" 'two servers have the name, so none of them is shown: echo'
expect 0 mcpctl status
assert_contains "$out$err" 'tools of project/ops'
expect 1 mcpctl why project ops
assert_contains "$out" '!!  tools      two servers have the name'
expect 0 mcpctl patch project ops 'servers=[a]'
wait_for lists /projects/ops/mcp 'echo env pid'
unknown /projects/ops/mcp die nothing

# A server that went: what it listed last is served, and marked.
expect 0 mcpctl create project one --servers b
wait_for lists /projects/one/mcp 'b__die b__echo b__env b__pid'
git -C work pull -q
fake work/servers/b.yaml b exit=3
commit work 'It does not start any more'
push_ok work
stale() { mcpctl get tools -p one | grep -q stale; }
expect 0 mcpctl patch server b update=recreate
WAIT=60 wait_for stale
lists /projects/one/mcp 'b__die b__echo b__env b__pid'
session_open /projects/one/mcp
assert_eq "$(mcp tools/list | jq -c '.result._meta["mcpctl/stale"]')" '["b"]'
expect 0 mcpctl describe project one
assert_contains "$out" 'is what was known last'

# Wrong fields are told with their place.
printf 'kind: project\nname: bad\ntools:\n  allows: [x]\n' >bad.yaml
expect 1 mcpctl validate bad.yaml
assert_contains "$out$err" 'bad.yaml:4:3'
assert_contains "$out$err" 'did you mean "allow"?'
