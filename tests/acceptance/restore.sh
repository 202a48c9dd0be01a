#!/usr/bin/env bash
# Going back in time: the points that there are, what going back would change, one commit on top of an untouched history,
# what was before as a branch that no push touches, secrets that stay today's, and the digest of then.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

start_mcpd
say '-- before the first commit there is nothing to go back to'
expect 1 mcpctl restore to HEAD --yes
assert_line "$err" 'error: the repository has no commit yet'
assert_contains "$err" 'hint: mcpctl restore list'
expect 0 mcpctl restore list
assert_line "$err" 'there is no commit yet: the first push or change makes one'

clone work
idle work/servers/alpha.yaml alpha one
idle work/servers/beta.yaml beta one
commit work 'Two servers'
push_ok work
expect 0 mcpctl create secret keys --data TOKEN=first-value-0815
wait_for same
first=$(head_of_remote)
digest() { mcpctl restore --verify -o json | jq -r .digest; }
wait_for converged
then=$(digest)
expect 0 mcpctl patch server alpha description=two
expect 0 mcpctl delete server beta
expect 0 mcpctl create server gamma --command true --replicas 0
wait_for same
second=$(head_of_remote)

say '-- the list, and what going back would change'
expect 0 mcpctl restore list
assert_contains "$out" "${first:0:7}"
assert_contains "$out" 'create server/gamma'
expect 1 mcpctl restore diff HEAD~3
assert_contains "$err" "to ${first:0:7} of "
assert_line "$out" '-description: two'
assert_line "$out" '\+description: one'
assert_line "$out" "\+\+\+ server/alpha \(servers/alpha.yaml:1@${first:0:7}\)"
assert_line "$out" '--- server/gamma \(store\)'
expect 0 mcpctl restore diff HEAD
assert_eq "$out" ''
expect 2 mcpctl restore diff nonsense
assert_line "$err" 'error: "nonsense" is no commit, no branch and no time'
expect 0 mcpctl restore to "$first" --dry-run
assert_line "$out" 'plan: 1 to create, 1 to change, 1 to delete, 0 conflicts, 1 unchanged'
assert_line "$out" 'dry run: nothing was changed'
expect 1 mcpctl restore to "$first" </dev/null
assert_line "$err" 'error: nobody can be asked here whether this is meant; nothing was changed'
assert_eq "$(head_of_remote)" "$second"

say '-- going back: one commit on top, and what was before is a branch'
expect 0 mcpctl restore to "${first:0:9}" --yes --wait
branch=$(sed -n 's/^what was before is branch //p' <<<"$out")
assert_line "$branch" 'timeline/20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z'
wait_for same
assert_eq "$(digest)" "$then" 'the digest of then'
git -C work fetch -q origin
assert_eq "$(git -C work rev-parse "origin/$branch")" "$second"
assert_eq "$(git -C work rev-parse origin/main~1)" "$second"
assert_contains "$(git -C work log -1 --format='%an|%cn|%s' origin/main)" "admin|mcpd|restore ${first:0:7}: apply 3 resources"
assert_eq "$(git -C work diff --name-status "$first" origin/main)" $'M\tservers/beta.yaml' 'beta is printed anew, and means the same'
assert_contains "$(api GET /events)" "went back to ${first:0:7}; what was before is branch $branch"
third=$(head_of_remote)
expect 0 mcpctl restore to "$first" --yes
assert_contains "$out" 'nothing to change'
assert_eq "$(head_of_remote)" "$third"
git -C work pull -q --ff-only origin main

say '-- no push touches that branch'
for refspec in ":refs/heads/$branch" "+HEAD:refs/heads/$branch" HEAD:refs/heads/timeline/mine HEAD:refs/heads/timeline; do
    run git -C work push origin "$refspec"
    assert_eq "$status" 1 "git push origin $refspec"
    assert_contains "$err" 'keeps what was before a restore: no push makes, moves or deletes it'
done
assert_eq "$(git ls-remote "$remote" 'refs/heads/timeline/*' | cut -f1)" "$second"

say '-- and back again'
expect 0 mcpctl restore to "$branch" --yes
wait_for same
assert_eq "$(mcpctl get servers -o name | sort | tr '\n' ' ')" 'server/alpha server/gamma '

say '-- a value of a secret stays today'"'"'s unless it is said'
printf 'kind: secret\nname: keys\ndata:\n  TOKEN: second-value-0816\n' >keys.yaml
expect 0 mcpctl apply -f keys.yaml
wait_for same
reveal() { mcpctl get secret keys -o yaml --reveal | sed -n 's/^ *TOKEN: //p'; }
expect 0 mcpctl restore to "$first" --yes
assert_line "$err" "note: secret/keys keeps today's values"
assert_line "$err" 'hint: --with-credentials brings the old values of secrets back'
wait_for same
assert_eq "$(reveal)" second-value-0816
expect 1 mcpctl restore diff "$first" --with-credentials
assert_lacks "$out" first-value
assert_line "$err" 'warning: secret/keys comes back with its old values'
expect 0 mcpctl restore to "$first" --yes --with-credentials
wait_for same
assert_eq "$(reveal)" first-value-0815
assert_contains "$(api GET /audit/events)" "restore ${first:0:7} with credentials: secret/keys"
assert_eq "$(digest)" "$then"

say '-- the guard, and a commit that would not be accepted today'
for name in one two three four five; do idle "work/servers/$name.yaml" "$name" new; done
git -C work pull -q --rebase origin main
printf 'kind: server\nname: alpha\ncomand: [x]\n' >work/servers/alpha.yaml
commit work 'A slip of the pen'
bad=$(git -C work rev-parse HEAD)
idle work/servers/alpha.yaml alpha one
commit work 'Mended'
push_ok work
expect 1 mcpctl restore to "$bad" --yes
assert_line "$err" 'error: servers/alpha.yaml:3:1: unknown field "comand".*'
assert_line "$err" "note: in commit ${bad:0:7}"
expect 1 mcpctl restore to "$first" --yes
assert_line "$err" 'error: this would delete 5 of 8 resources'
assert_line "$err" 'hint: if this is meant: --allow-mass-delete'
expect 0 mcpctl restore to "$first" --yes --allow-mass-delete
wait_for same

say '-- mcpd dies after the change and before its commit: both follow'
expect 0 mcpctl patch server alpha description=later
wait_for same
now=$(head_of_remote)
for _ in 1 2 3; do
    curl -sS -o /dev/null -X POST -H "Authorization: Bearer $token" "$url/api/v1/restore/to?commit=$first" &
    request=$!
    sleep "0.0$((RANDOM % 9))"
    stop_mcpd KILL
    wait "$request" || true
    start_mcpd
    wait_for same
    # Either nothing happened, or all of it: the branch is never missing.
    if [[ $(head_of_remote) != "$now" ]]; then
        git ls-remote "$remote" 'refs/heads/timeline/*' | cut -f1 | grep -qx "$now" || fail 'a restore without its branch'
        expect 0 mcpctl restore to "$now" --yes
        wait_for same
        now=$(head_of_remote)
    fi
done

say '-- a wiped host has the digest of before, also after restores; without the identity it is told what is sealed'
before=$(digest)
mcpctl backup identity >identity.txt 2>/dev/null
repoint work
git -C work fetch -q origin
git -C work reset -q --hard origin/main
stop_mcpd
data=$here/wiped start_mcpd
repoint work
push_ok work
wait_for same
expect 3 mcpctl restore --verify
assert_line "$out" 'sealed     secret/keys'
stop_mcpd
rm -r wiped
export MCPD_IDENTITY_FILE=$here/identity.txt
data=$here/wiped start_mcpd
unset MCPD_IDENTITY_FILE
repoint work
push_ok work
wait_for converged
expect 0 mcpctl restore --verify
assert_eq "$(digest)" "$before"

say '-- a watched folder has no history of its own'
mkdir -p folder/servers
idle folder/servers/a.yaml a one
stop_mcpd
data=$here/other start_mcpd --watch "$here/folder"
expect 1 mcpctl restore to HEAD --yes
assert_line "$err" 'error: a watched folder has no history of its own'
assert_contains "$err" 'git restore --source COMMIT'
