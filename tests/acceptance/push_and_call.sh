#!/usr/bin/env bash
# A push of the example repository runs its two real servers, and two independent clients call them through the project.
source "$ROOT/tests/support/lib.sh"
needs git curl jq npx uvx
[[ -n $MCPCTL_TEST_NODE ]] || needs a-node-that-tests-run-installs

start_mcpd

# A fresh hosted repository has no branch; the clone stands on an unborn main.
assert_eq "$(head_of_remote)" none 'a fresh hosted repository has a branch'
clone work
assert_eq "$(git -C work symbolic-ref --short HEAD)" main

cp -R "$ROOT/examples/repo/." work/
commit work 'Two servers and a project'
push_ok work
head=$(git -C work rev-parse --short=7 HEAD)

# The push's output, line by line.
mapfile -t lines <<<"$said"
assert_line "${lines[0]}" "plan $head: 3 to create, 0 to change, 0 to delete, 0 conflicts, 0 unchanged"
assert_eq "${lines[1]}" '  + server/everything'
assert_eq "${lines[2]}" '  + server/time'
assert_eq "${lines[3]}" '  + project/demo'
assert_line "${lines[4]}" 'containers: start everything/0, time/0( .*)?'
assert_line "${lines[5]}" 'applied: revision [1-9][0-9]*'
state='(RUNNING|STARTING|PENDING|ERROR)'
assert_line "${lines[6]}" "$state server/everything [01]/1.* · $state server/time [01]/1.*"
assert_eq "${#lines[@]}" 7 'the push said more than its seven lines'
assert_eq "$(head_of_remote)" "$(git -C work rev-parse HEAD)" 'the ref did not move'

WAIT=300 wait_for converged

# The same push again has nothing to say about servers.
git -C work commit -q --allow-empty -m 'Nothing new'
push_ok work
assert_line "$said" "plan $(git -C work rev-parse --short=7 HEAD): .*3 unchanged"

# The official TypeScript SDK.
seen=$("$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/call.mjs" "$url/projects/demo/mcp" "$token")
for tool in everything__echo everything__get-sum time__get_current_time time__convert_time; do
    jq -e --arg tool "$tool" '.tools | index($tool)' <<<"$seen" >/dev/null || fail "no tool $tool: $seen"
done
assert_contains "$(jq -r .echo <<<"$seen")" 'over the SDK'
assert_eq "$(jq -r '.time | fromjson | .timezone' <<<"$seen")" Europe/Berlin
assert_contains "$(jq -r .unknown <<<"$seen")" 'everything__no_such_tool'

# The inspector's command line.
inspector() {
    "$MCPCTL_TEST_NODE" "$MCPCTL_TEST_NODE_MODULES/@modelcontextprotocol/inspector/clients/launcher/build/index.js" \
        --cli "$url/projects/demo/mcp" --transport http --header "Authorization: Bearer $token" "$@"
}
expect 0 inspector --method tools/list
assert_eq "$(jq -c '[.tools[].name] | sort' <<<"$out")" "$(jq -c '.tools | sort' <<<"$seen")" 'the two clients see different tools'
expect 0 inspector --method tools/call --tool-name everything__echo --tool-arg message=inspected
assert_contains "$(jq -r '.content[0].text' <<<"$out")" inspected
expect 0 inspector --method tools/call --tool-name time__convert_time \
    --tool-arg source_timezone=Etc/UTC time=12:00 target_timezone=Asia/Tokyo
assert_contains "$(jq -r '.content[0].text' <<<"$out")" 21:00

# Without the token nobody is let in, and a page of another origin is not either.
code() { curl -s -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: application/json' \
    -H 'Accept: application/json, text/event-stream' "$@" --data-binary \
    '{"jsonrpc":"2.0","id":1,"method":"ping"}' "$url/projects/demo/mcp"; }
assert_eq "$(code)" 401
assert_eq "$(code -H "Authorization: Bearer $token" -H 'Origin: http://evil.example')" 403
assert_eq "$(code -H "Authorization: Bearer $token" -H 'Host: evil.example')" 403

# Nothing that mcpd started outlives it: not npx, and not the program that npx started.
mapfile -t children < <(descendants "$mcpd")
((${#children[@]} >= 2)) || fail "mcpd has only ${#children[@]} descendants"
stop_mcpd
for child in "${children[@]}"; do
    wait_for gone "$child"
done
