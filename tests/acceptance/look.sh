#!/usr/bin/env bash
# Looking closer: logs over several lives, why a server is not well, describe, the events of one resource.
source "$ROOT/tests/support/lib.sh"
needs git curl jq pgrep

start_mcpd
clone work
fake work/servers/good.yaml good 'say=ready to serve'
fake work/servers/broken.yaml broken 'say=opening the database' exit=3
mkdir work/projects
printf 'kind: project\nname: demo\nservers: [good]\n' >work/projects/demo.yaml
printf 'kind: project\nname: all\nservers: [broken, good]\n' >work/projects/all.yaml
commit work 'A good and a broken server'
push_ok work

# ---- why -------------------------------------------------------------------------------------------------------------
commit=$(git -C work rev-parse --short=7 HEAD)
wait_for mcpctl why server good
expect 0 mcpctl why server/good
for line in "commit     servers/good.yaml:1@$commit" 'plan       in force since revision [0-9]+' \
    'container  life [0-9a-f]{12}' 'handshake  fake 1, MCP 20[0-9-]+' 'tools      4 tools'; do
    assert_line "$out" "  ok  $line"
done
assert_eq "$(wc -l <<<"$out")" 6
expect 0 mcpctl why project demo
assert_line "$out" 'server/good'

stops_at() { grep -q "  !!  $1 " <<<"$(mcpctl why server broken)"; }
wait_for stops_at container
expect 1 mcpctl why server broken
assert_line "$out" "  ok  commit     servers/broken.yaml:1@$commit"
assert_line "$out" '  !!  container  exited with code 3: cannot open the database'
assert_line "$out" ' +next try (in [0-9]+s|now)'
assert_line "$out" ' +\| opening the database'
assert_lacks "$out" handshake 'why goes on after what broke'
expect 1 mcpctl why project/all -o json
assert_eq "$(jq -r '.well, (.ladders[] | "\(.resource) \(.well)")' <<<"$out")" \
    $'false\nproject/all true\nserver/broken false\nserver/good true'
expect 1 mcpctl why server nobody
assert_line "$err" 'error: server/nobody is not declared'

# ---- describe --------------------------------------------------------------------------------------------------------
expect 0 mcpctl describe server good
assert_line "$out" '  state +RUNNING 1/1'
assert_line "$out" "  declared +servers/good.yaml:1@$commit"
assert_line "$out" '  Synced +True +Committed .*'
assert_line "$out" '  Ready +True +Running .*'
assert_line "$out" '  good/0 +RUNNING +4 .*'
assert_line "$out" '  .* server/good +Running +good/0 is RUNNING'
expect 0 mcpctl describe server broken
assert_line "$out" '  Ready +False +Failed .*exited with code 3: cannot open the database'
expect 0 mcpctl describe project all
assert_line "$out" "  url +$url/projects/all/mcp"
assert_line "$out" '  broken +0/1 +ERROR .*'
assert_line "$out" '  good +1/1 +RUNNING .*'
assert_line "$out" '  Ready +False +NotRunning .*server/broken is ERROR'
expect 0 mcpctl get server good -o yaml
assert_lacks "$out" status 'a declaration holds a status'
assert_eq "$(api GET /servers/good | jq -c '.status.provenance | [.file, .line, .pending]')" '["servers/good.yaml",1,false]'
assert_eq "$(api GET /servers | jq -c '.items[0].status | has("events")')" false 'a list is no place for events'

# ---- logs over a restart ---------------------------------------------------------------------------------------------
expect 0 mcpctl logs good
assert_line "$(head -n 1 <<<"$out")" '--- good/0 begins at 20[0-9:TZ-]+ ---'
assert_eq "$(tail -n +2 <<<"$out")" 'ready to serve'
expect 1 mcpctl logs good --previous
assert_contains "$err" 'has had no life before'
mcpctl logs -f good >follow.txt 2>follow.err &
follower=$!
started+=("$follower")
wait_for grep -q 'ready to serve' follow.txt
session_open /servers/good/mcp
mcp tools/call '{"name":"die","arguments":{}}' >/dev/null
followed() { [[ $(grep -c 'ready to serve' follow.txt) == 2 ]]; }
wait_for followed
assert_eq "$(sed 's/ at 20[0-9:TZ-]*//' follow.txt)" "--- good/0 begins ---
ready to serve
asked to die
--- good/0 exited with code 9 ---
--- good/0 begins ---
ready to serve"
kill "$follower"
wait "$follower" 2>/dev/null || true

expect 0 mcpctl logs good --previous
assert_eq "$(sed 's/ at 20[0-9:TZ-]*//' <<<"$out")" "--- good/0 begins ---
ready to serve
asked to die
--- good/0 exited with code 9 ---"
expect 0 mcpctl logs server/good/0 -o json
second=$(jq -rs '[.[] | select(.kind == "began")][1].at' <<<"$out")
expect 0 mcpctl logs good --since "$second"
assert_eq "$(tail -n +2 <<<"$out")" 'ready to serve'
expect 0 mcpctl logs good --since 1h
assert_contains "$out" 'asked to die'
expect 0 mcpctl logs good --tail 1 -o wide
assert_line "$out" '20[0-9:TZ-]+ [0-9a-f]{12} ready to serve'
expect 2 mcpctl logs good --since yesterday
expect 1 mcpctl logs nobody
assert_line "$(head -n 1 <<<"$err")" 'error: nobody/0 has no log'
assert_eq "$(curl -s -o /dev/null -w '%{http_code}' "$url/api/v1/instances/good/0/logs")" 401
assert_eq "$(api GET '/instances/good/0/logs?tail=1' | jq -r '.items[].text')" 'ready to serve'
api GET '/instances/good/0/logs?follow=true&previous=true' >/dev/null && fail 'what has ended is followed'
# A restart of mcpd keeps what was written, and mcpd's own end is told as the server's.
stop_mcpd
start_mcpd
wait_for mcpctl why server good
expect 0 mcpctl logs good
assert_eq "$(grep -c 'ready to serve' <<<"$out")" 3
assert_contains "$out" 'asked to die'

# Two replicas: every line says whose it is.
expect 0 mcpctl patch server good replicas=2
wait_for mcpctl why server good
expect 0 mcpctl why server good
assert_line "$out" '  ok  tools      good/1  4 tools'
expect 0 mcpctl logs good --tail 1
assert_line "$out" 'good/0 \| ready to serve'
assert_line "$out" 'good/1 \| ready to serve'

# ---- events of one resource ------------------------------------------------------------------------------------------
expect 0 mcpctl get events server/good
assert_contains "$out" 'good/0 is RUNNING'
assert_lacks "$out" broken
stop_mcpd

# ---- a declaration that can't be used --------------------------------------------------------------------------------
mkdir folder
fake folder/kept.yaml kept
export MCPD_WATCH=$here/folder
data=$here/data-of-folder
start_mcpd
wait_for mcpctl why server kept
printf 'replica: 2\n' >>folder/kept.yaml
printf 'kind: server\nname: fresh\ncommnd: [x]\n' >folder/fresh.yaml
held() { [[ $(api GET /status | jq '.held | length') == 2 ]]; }
wait_for held
expect 1 mcpctl why server kept
assert_line "$out" '  ok  commit +kept.yaml@?.*'
assert_line "$out" '  !!  plan +held, what was in force stays: kept.yaml:[0-9]+:1: .*replica.*'
assert_lacks "$out" container 'why goes on after what broke'
expect 1 mcpctl why server fresh
assert_line "$out" '  !!  plan +held, nothing is in force: fresh.yaml:3:1: .*commnd.*'
assert_line "$out" ' +hint: did you mean "command"\?'
expect 0 mcpctl describe server kept
assert_line "$out" '  Held +True +Unusable .*kept.yaml:[0-9]+:1: .*replica.*'
expect 1 mcpctl describe server fresh
assert_contains "$err" 'fresh.yaml:3:1'
expect 0 mcpctl status
assert_line "$out" 'held +server/fresh: fresh.yaml:3:1: .*'
