#!/usr/bin/env bash
# What can befall a container: killed, removed by hand, out of memory, paused, a crash loop, an end that mcpd did not see.
# Each heals or is told, none is doubled, and the others go on.
source "$ROOT/tests/support/lib.sh"
needs git curl jq docker
docker_cluster
start_mcpd
clone work
mkdir -p work/servers
server() { # server NAME [LINE...]
    local name=$1 line
    shift
    printf 'kind: server\nname: %s\ndockerImage: %s\n' "$name" "$MCPCTL_TEST_FIXTURE_IMAGE" >"work/servers/$name.yaml"
    for line in "$@"; do printf '%s\n' "$line" >>"work/servers/$name.yaml"; done
}
server steady
server killed
server removed
server hungry 'resources: {memory: 64m}'
server paused 'startTimeoutSeconds: 5' 'timeoutSeconds: 3'
commit work 'Five to suffer'
push_ok work -o wait=60
wait_for converged
of() { containers --filter "label=mcpctl.io/server=$1"; }
steady=$(of steady)
other_runs() { [[ -n $(of "$1") && $(of "$1") != "$2" ]] && mcpctl status | grep -E "^$1/0 +RUNNING"; }

say '-- killed: it had been healthy, so it is back at once'
old=$(of killed)
docker kill "$old" >/dev/null
wait_for other_runs killed "$old"
session_open /servers/killed/mcp
assert_contains "$(call_text echo '{"message":"again"}')" again

say '-- removed by hand'
old=$(of removed)
docker rm --force "$old" >/dev/null
wait_for other_runs removed "$old"

say '-- out of memory: told as such'
old=$(of hungry)
session_open /servers/hungry/mcp
call_text eat_memory '{"megabytes":512}' >/dev/null || true
oom() { mcpctl get events -o json | jq -e 'map(select(.about == "server/hungry" and (.message | test("want of memory")))) | length > 0'; }
wait_for oom
wait_for other_runs hungry "$old"

say '-- paused: calls end with their own deadline, and nobody else waits'
docker pause "$(of paused)" >/dev/null
session_open /servers/paused/mcp
assert_contains "$(call_text echo '{"message":"x"}')" 'did not answer within 3 s'
session_open /servers/steady/mcp
assert_contains "$(call_text echo '{"message":"quick"}')" quick
docker unpause "$(of paused)" >/dev/null
session_open /servers/paused/mcp
assert_contains "$(call_text echo '{"message":"awake"}')" awake

say '-- a crash loop is ERROR with its exit code and last line, and is retried in place'
server loops 'command: [/fixture_server, --no-such-option]'
commit work 'One that can not start'
push_ok work -o wait=30
assert_contains "$said" 'ERROR server/loops 0/1'
looping() { mcpctl status | grep -E '^loops/0 +ERROR .*exited with code'; }
wait_for looping
run mcpctl why server loops
assert_eq "$status" 1
assert_contains "$out" 'exited with code'
at_most_one() { [[ $(of loops | wc -l) -le 1 ]]; }
at_most_one || fail 'a crash loop leaves containers behind'

say '-- a new declaration does not wait for the retry'
server loops
commit work 'Mended'
push_ok work -o wait=60
assert_contains "$said" 'RUNNING server/loops 1/1'

say '-- a server that takes one handshake in its life outlives mcpd: what it said is remembered'
server strict 'command: [/fixture_server, --refuse-second-initialize]'
commit work 'One handshake only'
push_ok work -o wait=60
assert_contains "$said" 'RUNNING server/strict 1/1'
strict=$(of strict)
stop_mcpd KILL
start_mcpd
repoint work
wait_for converged
assert_eq "$(of strict)" "$strict" 'it was replaced'
session_open /servers/strict/mcp
assert_contains "$(call_text echo '{"message":"still"}')" still

say '-- an end while mcpd was away is seen when it is back'
old=$(of killed)
stop_mcpd KILL
docker kill "$old" >/dev/null
start_mcpd
wait_for other_runs killed "$old"

assert_eq "$(of steady)" "$steady" 'the one that nothing befell was restarted'
seven() { [[ $(containers | wc -l) == 7 ]]; }
wait_for seven
