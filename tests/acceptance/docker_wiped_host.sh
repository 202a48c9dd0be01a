#!/usr/bin/env bash
# A wiped host: mcpd's data folder is deleted while its containers run. With the exported identity and a push of the same
# clone everything is back, the containers that match are adopted without a restart, and the state digest is equal. Without
# the identity the secret is sealed, its server says so and is left alone, and everything else is back.
source "$ROOT/tests/support/lib.sh"
needs git curl jq docker
docker_cluster
start_mcpd
clone work

mkdir -p work/servers work/projects work/prompts
cat >work/servers/all.yaml <<TEXT
kind: server
name: open
dockerImage: $MCPCTL_TEST_FIXTURE_IMAGE
replicas: 2
---
kind: server
name: locked
dockerImage: $MCPCTL_TEST_FIXTURE_IMAGE
env:
  - {name: TOKEN, valueFrom: {secretRef: {name: keys, key: TOKEN}}}
  - {name: MADE, valueFrom: {secretRef: {name: keys, key: MADE}}}
TEXT
printf 'kind: project\nname: team\nservers: [open, locked]\n' >work/projects/team.yaml
printf 'kind: prompt\nname: hello\nproject: team\ncontent: Say hello.\n' >work/prompts/hello.yaml
printf 'kind: secret\nname: keys\ndata: {TOKEN: "a-value-4711", MADE: {generate: {length: 16}}}\n' >keys.yaml
expect 0 mcpctl apply -f keys.yaml
expect 0 mcpctl sync
git -C work pull -q --ff-only origin main
commit work 'A team'
push_ok work -o wait=60
wait_for converged
mcpctl backup identity >identity.txt
digest() { mcpctl restore --verify 2>/dev/null | sed -n 's/^digest *//p'; }
was=$(digest)
[[ -n $was ]] || fail 'no digest'
lives=$(containers | sort)
assert_eq "$(wc -l <<<"$lives")" 3
# What a process is: its start, by the engine and by itself.
started_at() { containers | xargs docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}' | sort; }
processes=$(started_at)
session_open /projects/team/mcp
made=$(call_text locked__env '{"name":"MADE"}')
assert_eq "$(call_text locked__env '{"name":"TOKEN"}')" a-value-4711

say '-- stopped: the containers go on'
stop_mcpd
assert_eq "$(started_at)" "$processes" 'the end of mcpd ended containers'

say '-- started as it was: nothing is restarted, calls go on'
start_mcpd
wait_for converged
assert_eq "$(started_at)" "$processes" 'a restart of mcpd restarted containers'
session_open /projects/team/mcp
assert_eq "$(call_text locked__env '{"name":"MADE"}')" "$made"

say '-- wiped: what runs is listed and left alone until something was agreed'
stop_mcpd KILL
rm -rf "$data"
MCPD_IDENTITY_FILE=$here/identity.txt start_mcpd
repoint work
assert_eq "$(started_at)" "$processes" 'an empty mcpd touched containers'
run mcpctl status
assert_contains "$out" 'unclaimed'
session_open /projects/team/mcp || true
assert_eq "$(head_of_remote)" none

say '-- the same clone and the identity: adopted without a restart, the same state'
push_ok work -o wait=60
wait_for converged
assert_eq "$(started_at)" "$processes" 'what matched was restarted'
assert_eq "$(digest)" "$was" 'the digest differs'
session_open /projects/team/mcp
assert_eq "$(call_text locked__env '{"name":"TOKEN"}')" a-value-4711
assert_eq "$(call_text locked__env '{"name":"MADE"}')" "$made"
git -C work pull -q --ff-only origin main

say '-- once more, without the identity: sealed, said, and left alone; everything else is back'
stop_mcpd
rm -rf "$data"
start_mcpd
repoint work
push_ok work -o wait=30
assert_contains "$said" 'RUNNING server/open 2/2'
assert_contains "$said" 'ERROR server/locked 0/1'
sealed() { mcpctl status | grep -F 'secret keys is sealed: no identity here opens it'; }
wait_for sealed
assert_eq "$(started_at)" "$processes" 'without its secret nobody can tell that it differs'
expect 0 mcpctl get prompt team/hello -o name 2>/dev/null || expect 0 mcpctl get prompts -o name
session_open /projects/team/mcp
assert_contains "$(call_text open__echo '{"message":"back"}')" back
assert_contains "$(call_text locked__echo '{"message":"x"}')" 'secret keys is sealed'
