#!/usr/bin/env bash
# The official SDKs of TypeScript and Python as clients, old and new, of projects whose two servers are of one era or the
# other: lists, calls, progress, cancelling, resources, prompts, completion, subscriptions, questions of servers, logging.
source "$ROOT/tests/support/lib.sh"
needs git curl jq python3
[[ -n $MCPCTL_TEST_NODE ]] || needs a-node-that-tests-run-installs
[[ -d $MCPCTL_TEST_PYTHON_LEGACY/mcp ]] || needs the-python-sdk-that-tests-run-installs
clients=$ROOT/tests/acceptance

start_mcpd
clone work
mkdir -p work/servers work/projects
for era in legacy modern; do
    for part in first second; do
        cat >work/servers/$era-$part.yaml <<TEXT
kind: server
name: $era-$part
command: ["$MCPCTL_TEST_NODE", "$ROOT/tests/fixtures/conformance/server.mjs", "$era", "stdio", "$part"]
env:
  - {name: MCPCTL_TEST_NODE_MODULES, value: "$MCPCTL_TEST_NODE_MODULES"}
TEXT
    done
    printf 'kind: project\nname: %s\nservers: [%s-first, %s-second]\n' "$era" "$era" "$era" >work/projects/$era.yaml
done
commit work 'Two projects of two servers'
push_ok work -o wait=100
assert_eq "$(grep -o 'RUNNING server' <<<"$said" | wc -l)" 4 "$said"

# session NAME COMMAND...: a client's session, from its first step to its last.
session() {
    local name=$1 code=0
    shift
    timeout 120 "$@" >"$here/$name.out" 2>"$here/$name.err" </dev/null || code=$?
    ((code == 0)) || fail "$name: $(tail -n 30 "$here/$name.err")"
    assert_contains "$(<"$here/$name.out")" logging "$name ended early"
    say "$name: $(<"$here/$name.out")"
}
# One after the other: over one pipe a legacy server may ask only while the calls of a single client are under way.
sessions() {
    local servers=$1 era
    local words=("$url/projects/$servers/mcp" "$token") pair=("$servers-first" "$servers-second")
    for era in legacy modern auto; do
        session "typescript-$era-over-$servers" "$MCPCTL_TEST_NODE" "$clients/node/session.mjs" "${words[@]}" "$era" "${pair[@]}"
    done
    session "python-1-over-$servers" env PYTHONPATH="$MCPCTL_TEST_PYTHON_LEGACY" python3 "$clients/python/session.py" "${words[@]}" "${pair[@]}"
    session "python-2-over-$servers" python3 "$clients/python/session.py" "${words[@]}" "${pair[@]}"
}
sessions modern >"$here/modern.txt" 2>&1 &
modern=$!
sessions legacy
wait "$modern" || fail "$(<"$here/modern.txt")"
cat "$here/modern.txt"
