#!/usr/bin/env bash
# A remote in a folder: what is pushed there is applied, changes through the API arrive as commits, two writers race and
# nothing is lost, an outage is one message and its end another, a rewound history and a mass deletion wait for a person.
source "$ROOT/tests/support/lib.sh"
needs git curl jq
remote_git=$here/remote.git
git init -q --bare "$remote_git"
export MCPD_REPO=$remote_git MCPD_SYNC_INTERVAL=1s
head_there() { git -C "$remote_git" rev-parse -q --verify refs/heads/main || echo none; }
declared() { mcpctl get servers -o name; }
source_is() { [[ $(mcpctl status -o json | jq -r .source.state) == "$1" ]]; }
events() { mcpctl get events -o json | jq -r --arg about repository '.[]? // .items[]? | select(.about == $about) | .reason'; }

pending_is() { [[ $(mcpctl backup status -o json | jq -r .pendingCount) == "$1" ]]; }
there() { git -C "$remote_git" show "main:$1"; }

say '-- an empty remote: nothing is written that nobody asked for'
start_mcpd
wait_for source_is Empty
assert_eq "$(head_there)" none
assert_eq "$(mcpctl status -o json | jq -r .source.kind)" remote
run curl -sS -H "Authorization: Bearer $token" "$url/git/config.git/info/refs?service=git-upload-pack"
assert_contains "$out" "$remote_git"

say '-- the first change makes the branch'
expect 0 mcpctl create server made --command true --replicas 0
wait_for there servers/made.yaml
wait_for pending_is 0
assert_eq "$(git -C "$remote_git" log -1 --format=%cn main)" mcpd

say '-- what is pushed there is applied'
git clone -q "$remote_git" work
idle work/servers/pushed.yaml pushed one
commit work 'A server'
git -C work push -q origin HEAD:main
wait_for mcpctl get server pushed
run mcpctl backup log -o json
assert_eq "$(jq -c 'map([.subject, .manual])' <<<"$out")" '[["A server",true],["create server/made",false]]'
run mcpctl backup status -o json
assert_eq "$(jq -c '[.repoUrl, .gitReachable, .lastError, .pendingCount]' <<<"$out")" "[\"$remote_git\",true,null,0]"
[[ $(jq -r .lastSyncAt <<<"$out") != null && $(jq -r .lastPushAt <<<"$out") != null ]] || fail "times: $out"

say '-- sync looks at once, whatever the interval is'
stop_mcpd
MCPD_SYNC_INTERVAL=1h MCPD_WEBHOOK_SECRET=swordfish start_mcpd
expect 0 mcpctl sync
idle work/servers/pushed.yaml pushed two
commit work 'Two'
git -C work push -q origin HEAD:main
expect 0 mcpctl sync
assert_eq "$(mcpctl get server pushed -o json | jq -r .description)" two

say '-- so does a webhook, and its run tells what that brought'
idle work/servers/pushed.yaml pushed three
commit work 'Three'
git -C work push -q origin HEAD:main
run=$(curl -sS -H 'X-Gitlab-Event: Push Hook' -H 'X-Gitlab-Token: swordfish' -H 'Content-Type: application/json' \
    --data '{"ref": "refs/heads/main", "user_username": "ada"}' "$url/git/webhook" | jq -r .run)
run_is_over() { mcpctl get run "$run" -o json | jq -e '.. | .state? // empty | select(. == "done")'; }
wait_for run_is_over
assert_eq "$(mcpctl get server pushed -o json | jq -r .description)" three

say '-- two writers at once: no change of either is lost'
stop_mcpd
start_mcpd
people() {
    local n
    for n in {1..12}; do
        idle "work/servers/p$n.yaml" "p$n" by-hand
        commit work "p$n"
        until git -C work pull -q --rebase origin main && git -C work push -q origin HEAD:main; do sleep 0.05; done
    done
}
people >people.log 2>&1 &
person=$!
for n in {1..12}; do
    expect 0 mcpctl create server "a$n" --command true --replicas 0
done
wait "$person"
all_there() { [[ $(mcpctl get servers -o name | grep -c '/[ap][0-9]') == 24 ]]; }
wait_for all_there
wait_for pending_is 0
assert_eq "$(git -C "$remote_git" ls-tree --name-only main:servers | grep -c '^[ap][0-9]')" 24
assert_eq "$(git -C "$remote_git" rev-list --merges main | wc -l)" 0

say '-- the remote goes away: work goes on, it is said once'
mv "$remote_git" away.git
wait_for source_is Failing
expect 0 mcpctl patch server pushed description=during-1
expect 0 mcpctl patch server made description=during-2
expect 1 mcpctl sync
assert_contains "$err" "$remote_git"
wait_for pending_is 2
run mcpctl backup status -o json
assert_eq "$(jq -c .gitReachable <<<"$out")" false
assert_contains "$(jq -r .lastError <<<"$out")" "$remote_git"
curl -sf -o /dev/null "$url/readyz" || fail 'not ready while the remote is away'
say '-- a restart while it is away changes nothing'
stop_mcpd KILL
start_mcpd
wait_for source_is Failing
wait_for pending_is 2
assert_eq "$(mcpctl get server pushed -o json | jq -r .description)" during-1
mv away.git "$remote_git"
wait_for pending_is 0
wait_for source_is Synced
assert_contains "$(there servers/pushed.yaml)" during-1
assert_contains "$(there servers/made.yaml)" during-2
events >events.txt
assert_eq "$(grep -c Failing events.txt)" 2 'one message for each life of mcpd that met the outage'
assert_eq "$(grep -c Recovered events.txt)" 1

say '-- a rewound remote waits for a person'
git -C work pull -q --rebase origin main
before=$(head_there)
git -C "$remote_git" update-ref refs/heads/main "$before~1"
wait_for source_is WaitingForApproval
assert_contains "$(mcpctl status)" 'the history was replaced'
assert_contains "$(mcpctl status)" '--new-epoch'
expect 0 mcpctl sync --new-epoch
back_again() { there servers/made.yaml | grep -q during-2; }
wait_for back_again
wait_for source_is Synced

say '-- so does a mass deletion'
git -C work fetch -q origin
git -C work reset -q --hard origin/main
git -C work rm -q -r servers
idle work/servers/left.yaml left here
commit work 'All but one'
git -C work push -q origin HEAD:main
wait_for source_is WaitingForApproval
assert_contains "$(mcpctl status)" '--allow-mass-delete'
[[ $(declared | wc -l) -gt 20 ]] || fail 'servers went without a word'
expect 0 mcpctl sync --allow-mass-delete
only_left() { [[ $(declared) == server/left ]]; }
wait_for only_left

say '-- and a branch that is gone'
git -C "$remote_git" update-ref -d refs/heads/main
wait_for source_is WaitingForApproval
assert_contains "$(mcpctl status)" 'the branch is gone'
assert_eq "$(declared)" server/left
expect 0 mcpctl sync --new-epoch
wait_for there servers/left.yaml

say '-- a folder within it, on another branch'
stop_mcpd
mkdir -p mono/deploy/mcp mono/elsewhere
idle mono/deploy/mcp/servers/inside.yaml inside here
idle mono/elsewhere/outside.yaml outside there
git init -q mono
commit mono 'A monorepo'
git -C mono push -q "$remote_git" HEAD:live
rm -rf "$data"
start_mcpd --repo-path deploy/mcp --branch live
wait_for mcpctl get server inside
assert_eq "$(declared)" server/inside
assert_contains "$(mcpctl describe server inside)" deploy/mcp/servers/inside.yaml
expect 0 mcpctl create server another --command true --replicas 0
wait_for git -C "$remote_git" cat-file -e live:deploy/mcp/servers/another.yaml
assert_contains "$(git -C "$remote_git" show live:elsewhere/outside.yaml)" outside

say '-- another mcpd on the same branch: this one writes no more until a person says so'
first=$MCPCTL_URL first_token=$MCPCTL_TOKEN
data=$here/data2 start_mcpd --repo-path deploy/mcp --branch live
wait_for mcpctl get server another
expect 0 mcpctl patch server another description=second
second_wrote() { git -C "$remote_git" show live:deploy/mcp/servers/another.yaml | grep -q second; }
wait_for second_wrote
url=$first token=$first_token
export MCPCTL_URL=$url MCPCTL_TOKEN=$token
says_so() { mcpctl status | grep -F 'another mcpd writes to this repository'; }
wait_for says_so
assert_eq "$(mcpctl get server another -o json | jq -r .description)" second 'imports stopped too'
expect 0 mcpctl patch server inside description=first
expect 0 mcpctl sync
wait_for pending_is 1
expect 0 mcpctl sync --take-over
first_wrote() { git -C "$remote_git" show live:deploy/mcp/servers/inside.yaml | grep -q first; }
wait_for first_wrote
wait_for pending_is 0

say '-- many changes that waited are a commit each, and few pushes'
mv "$remote_git" away.git
wait_for source_is Failing
for n in {1..40}; do api PATCH /servers/inside "{\"description\": \"change $n\"}" >/dev/null; done
wait_for pending_is 40
commits() { git -C "$remote_git" rev-list --count live; }
mv away.git "$remote_git"
before=$(commits)
wait_for pending_is 0
assert_eq "$(commits)" "$((before + 40))"
assert_contains "$(git -C "$remote_git" show live:deploy/mcp/servers/inside.yaml)" 'change 40'
