#!/usr/bin/env bash
# Servers that crash, come back, change and go, as the status tells it.
source "$ROOT/tests/support/lib.sh"
needs git curl jq pgrep

start_mcpd
clone work
fake work/servers/good.yaml good
fake work/servers/broken.yaml broken exit=3
mkdir work/projects
printf 'kind: project\nname: demo\nservers: [broken, good]\n' >work/projects/demo.yaml
commit work 'A good and a broken server'
push_ok work

instance() { api GET /instances | jq -c --arg name "$1" '.items[] | select(.instance == $name)'; }
state_is() { [[ $(instance "$1" | jq -r .state) == "$2" ]]; }

# A server that exits at once is ERROR with its exit code, its last line on stderr and the time of the next try.
wait_for state_is broken/0 ERROR
broken=$(instance broken/0)
assert_contains "$(jq -r .reason <<<"$broken")" 'exited with code 3: cannot open the database'
assert_line "$(jq -r .nextRetry <<<"$broken")" '20[0-9-]+T[0-9:.]+Z'
expect 0 mcpctl describe server broken
assert_contains "$out" 'cannot open the database'
assert_contains "$out" ERROR
expect 0 mcpctl get server broken
assert_contains "$out" ERROR
expect 3 mcpctl status --check
assert_contains "$out$err" broken

# Its neighbour is none the worse.
wait_for state_is good/0 RUNNING
session_open /projects/demo/mcp
assert_eq "$(call_text good__echo '{"message":"still here"}')" 'still here'
assert_contains "$(call_text broken__echo '{"message":"x"}')" broken
tools=$(mcp tools/list | jq -r '.result.tools[].name')
assert_contains "$tools" good__echo

# The fix need not wait for the retry that was announced.
fake work/servers/broken.yaml broken
commit work 'Mended'
push_ok work
wait_for state_is broken/0 RUNNING
wait_for converged

# A healthy server that is killed comes back as another process, and the open session goes on.
old=$(call_text good__pid '{}')
kill -KILL "$old"
answers() { [[ $(call_text good__pid '{}') =~ ^[0-9]+$ && $(call_text good__pid '{}') != "$old" ]]; }
wait_for answers
wait_for state_is good/0 RUNNING
assert_eq "$(marked | wc -l)" 2 'more processes than instances'

# A call that the server dies of is an error for its caller, and for nobody else.
old=$(call_text good__pid '{}')
died=$(mcp tools/call '{"name":"good__die","arguments":{}}')
jq -e '.error != null or .result.isError == true' <<<"$died" >/dev/null || fail "dying was answered with: $died"
wait_for answers
assert_eq "$(call_text broken__echo '{"message":"unharmed"}')" unharmed

# A changed environment replaces the process.
assert_eq "$(call_text good__env '{"name":"COLOUR"}')" '(unset)'
before=$(call_text good__pid '{}')
mcpctl get server good -o yaml >good.yaml
printf 'env:\n  - name: COLOUR\n    value: blue\n' >>good.yaml
expect 0 mcpctl apply -f good.yaml
colour() { [[ $(call_text good__env '{"name":"COLOUR"}') == "$1" ]]; }
wait_for colour blue
[[ $(call_text good__pid '{}') != "$before" ]] || fail 'the process is the same'
wait_for marked_is 2

# A change of words alone replaces nothing.
now=$(call_text good__pid '{}')
expect 0 mcpctl patch server good description=words
wait_for same
assert_eq "$(call_text good__pid '{}')" "$now" 'a description restarted the server'

# More replicas, fewer, none; then the server goes.
expect 0 mcpctl patch server good replicas=3
wait_for marked_is 4
expect 0 mcpctl patch server good replicas=0
wait_for marked_is 1
expect 0 mcpctl delete project demo
expect 0 mcpctl delete server good
expect 0 mcpctl delete server broken
wait_for marked_is 0
assert_eq "$(api GET /instances | jq '.items | length')" 0

# A server that never answers is ERROR when its time is over, and its process does not stay.
fake silent.yaml silent silent
printf 'startTimeoutSeconds: 1\n' >>silent.yaml
expect 0 mcpctl apply -f silent.yaml
wait_for state_is silent/0 ERROR
# A program that is not there says so.
printf 'kind: server\nname: absent\ncommand: [no-such-program-here]\n' >absent.yaml
expect 0 mcpctl apply -f absent.yaml
wait_for state_is absent/0 ERROR
assert_contains "$(instance absent/0 | jq -r .reason)" no-such-program-here
