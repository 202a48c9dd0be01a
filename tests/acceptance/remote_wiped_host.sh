#!/usr/bin/env bash
# A wiped host: an empty data folder, the remote and an identity, and everything is back without a hand's turn: servers,
# projects, prompts and encrypted secrets; the state digest is equal. While the remote is away nothing is begun.
source "$ROOT/tests/support/lib.sh"
needs git curl jq python3
git init -q --bare remote.git
export MCPD_REPO=$here/remote.git MCPD_SYNC_INTERVAL=1s
start_mcpd
git clone -q remote.git work 2>/dev/null
fake work/servers/one.yaml one
fake work/servers/two.yaml two
mkdir -p work/projects work/prompts
printf 'kind: project\nname: team\nservers: [one, two]\n' >work/projects/team.yaml
printf 'kind: prompt\nname: hello\nproject: team\ncontent: Say hello.\n' >work/prompts/hello.yaml
commit work 'A team'
git -C work push -q origin HEAD:main
printf 'kind: secret\nname: keys\ndata: {TOKEN: "a-value-4711", MADE: {generate: {length: 16}}}\n' >keys.yaml
wait_for mcpctl get project team
expect 0 mcpctl apply -f keys.yaml
in_remote() { git -C remote.git cat-file -e main:secrets/keys.yaml; }
wait_for in_remote
wait_for converged
mcpctl backup identity >identity.txt
digest() { mcpctl restore --verify 2>/dev/null | sed -n 's/^digest *//p'; }
was=$(digest)
[[ -n $was ]] || fail 'no digest'

say '-- wiped, and the remote is away: mcpd starts, says why, and begins nothing'
stop_mcpd KILL
rm -rf "$data"
mv remote.git away.git
: >mcpd.log
export MCPD_IDENTITY_FILE=$here/identity.txt
start_mcpd
failing() { [[ $(mcpctl status -o json | jq -r .source.state) == Failing ]]; }
wait_for failing
assert_contains "$(mcpctl status -o json | jq -r .source.lastError)" "$here/remote.git"
assert_eq "$(mcpctl get servers -o name)" ''
marked_is 0 || fail 'something runs that nobody declared'

say '-- the remote is there again: everything comes back by itself'
mv away.git remote.git
wait_for converged
assert_eq "$(digest)" "$was" 'the digest differs'
assert_contains "$(<mcpd.log)" 'fetched'
session_open /projects/team/mcp
assert_contains "$(mcp tools/list | jq -r '.result.tools[].name')" one__
# The new host's own key may open the secrets too: one commit says so, and nothing else was written.
run git -C remote.git diff --name-only main~1 main
assert_eq "$out" secrets/keys.yaml 'a wiped host wrote into the repository'
assert_eq "$(git -C remote.git rev-list --count main)" 3
