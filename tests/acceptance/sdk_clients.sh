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
# A project of its own for each client: over one pipe a legacy server may ask only while nobody else's call is under way, nor
# was given up a moment ago.
clients_of=(typescript-legacy typescript-modern typescript-auto python-1 python-2)
for era in legacy modern; do
    for client in "${clients_of[@]}"; do
        for part in first second; do
            cat >work/servers/$era-$client-$part.yaml <<TEXT
kind: server
name: $era-$client-$part
command: ["$MCPCTL_TEST_NODE", "$ROOT/tests/fixtures/conformance/server.mjs", "$era", "stdio", "$part"]
env:
  - {name: MCPCTL_TEST_NODE_MODULES, value: "$MCPCTL_TEST_NODE_MODULES"}
TEXT
        done
        printf 'kind: project\nname: %s\nservers: [%s-first, %s-second]\n' "$era-$client" "$era-$client" "$era-$client" \
            >"work/projects/$era-$client.yaml"
    done
done
commit work 'A project of two servers for each client and era'
push_ok work -o wait=100
assert_eq "$(grep -o 'RUNNING server' <<<"$said" | wc -l)" 20 "$said"

# session NAME COMMAND...: a client's session, from its first step to its last.
session() {
    local name=$1 code=0
    shift
    timeout 120 "$@" >"$here/$name.out" 2>"$here/$name.err" </dev/null || code=$?
    ((code == 0)) || fail "$name: $(tail -n 30 "$here/$name.err")"
    assert_contains "$(<"$here/$name.out")" logging "$name ended early"
    say "$name: $(<"$here/$name.out")"
}
sessions() {
    local servers=$1 client
    for client in "${clients_of[@]}"; do
        local of=$servers-$client
        local words=("$url/projects/$of/mcp" "$token") pair=("$of-first" "$of-second")
        case $client in
            typescript-*)
                session "$client-over-$servers" "$MCPCTL_TEST_NODE" "$clients/node/session.mjs" "${words[@]}" "${client#*-}" "${pair[@]}"
                ;;
            python-1)
                session "$client-over-$servers" env PYTHONPATH="$MCPCTL_TEST_PYTHON_LEGACY" \
                    python3 "$clients/python/session.py" "${words[@]}" "${pair[@]}"
                ;;
            *) session "$client-over-$servers" python3 "$clients/python/session.py" "${words[@]}" "${pair[@]}" ;;
        esac
    done
}
sessions modern >"$here/modern.txt" 2>&1 &
modern=$!
sessions legacy
wait "$modern" || fail "$(<"$here/modern.txt")"
cat "$here/modern.txt"
