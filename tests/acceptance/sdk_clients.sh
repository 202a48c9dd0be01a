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

# session NAME COMMAND...: a client's session, beside the others.
sessions=()
session() {
    local name=$1
    shift
    "$@" >"$here/$name.out" 2>"$here/$name.log" </dev/null &
    started+=("$!")
    sessions+=("$! $name")
}
for servers in legacy modern; do
    words=("$url/projects/$servers/mcp" "$token")
    for era in legacy modern auto; do
        session typescript-$era-over-$servers "$MCPCTL_TEST_NODE" "$clients/node/session.mjs" "${words[@]}" "$era" $servers-first $servers-second
    done
    session python-legacy-over-$servers env PYTHONPATH="$MCPCTL_TEST_PYTHON_LEGACY" python3 "$clients/python/session.py" "${words[@]}" $servers-first $servers-second
    session python-modern-over-$servers python3 "$clients/python/session.py" "${words[@]}" $servers-first $servers-second
    # All at once for one project: each still hears what is its own.
    for job in "${sessions[@]}"; do
        read -r pid name <<<"$job"
        status=0
        wait "$pid" || status=$?
        ((status == 0)) || fail "$name: $(tail -n 30 "$here/$name.log")"
        assert_contains "$(<"$here/$name.out")" logging "$name ended early"
    done
    sessions=()
done
