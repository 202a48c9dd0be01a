#!/usr/bin/env bash
# Every change by the API or mcpctl is exactly one commit in the hosted repository; a pull brings it, and nothing differs
# afterwards.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

start_mcpd
clone work
mkdir -p work/servers
cat >work/servers/pair.yaml <<'TEXT'
# Two servers in one file, with remarks that must stay.
kind: server
name: alpha   # the first
description: 'quoted on purpose'
command: ["true"]
replicas: 0   # out of service
---
kind: server
name: beta
command: [ "true" ]
replicas: 0
TEXT
commit work 'Two servers in one file'
push_ok work

moved() { [[ $(head_of_remote) != "$1" ]]; }

# one_commit SUBJECT-REGEX COMMAND...: the command makes one commit by admin, put down by mcpd, and the pull brings it.
one_commit() {
    local subject=$1 old
    shift
    old=$(head_of_remote)
    expect 0 "$@"
    wait_for moved "$old"
    wait_for same
    git -C work pull -q --ff-only origin main
    assert_eq "$(git -C work rev-parse HEAD)" "$(head_of_remote)"
    assert_eq "$(git -C work rev-list --count "$old..HEAD")" 1 "commits made by: $*"
    assert_line "$(git -C work log -1 --format=%s)" "$subject"
    assert_eq "$(git -C work log -1 --format='%an|%cn')" 'admin|mcpd'
    assert_eq "$(git -C work status --porcelain)" ''
}

# A patch touches its line and no other byte.
sed 's/^replicas: 0   # out of service/replicas: 1   # out of service/' work/servers/pair.yaml >want.yaml
one_commit 'update server/alpha: replicas 0 → 1' mcpctl patch server alpha replicas=1
diff -u want.yaml work/servers/pair.yaml || fail 'the patch touched more than its line'
one_commit 'update server/alpha: replicas 1 → 0' mcpctl patch server alpha replicas=0

# Three documents in one request are one commit; new ones get files of their own.
cat >three.yaml <<'TEXT'
kind: server
name: gamma
command: ["true"]
replicas: 0
---
kind: server
name: beta
description: now described
command: ["true"]
replicas: 0
---
kind: project
name: all
servers: [alpha, beta, gamma]
TEXT
one_commit '.+' mcpctl apply -f three.yaml
[[ -f work/servers/gamma.yaml && -f work/projects/all.yaml ]] || fail "where are the new files: $(git -C work ls-files)"
assert_contains "$(<work/servers/pair.yaml)" 'now described'
assert_contains "$(<work/servers/pair.yaml)" '# the first'
assert_contains "$(mcpctl describe server gamma)" servers/gamma.yaml

# Applying the same again, a dry run and a patch to the same value make no commit.
old=$(head_of_remote)
now=$(revision)
expect 0 mcpctl apply -f three.yaml
expect 0 mcpctl apply --dry-run -f work/servers
expect 0 mcpctl patch server beta 'description=now described'
assert_eq "$(revision)" "$now" 'a change without an effect made a revision'
assert_eq "$(head_of_remote)" "$old" 'a change without an effect made a commit'

# Raw HTTP is no other door.
post() { api POST /servers '{"kind":"server","name":"delta","command":["true"],"replicas":0}' && [[ $(<"$here/.code") == 201 ]]; }
one_commit 'create server/delta' post
remove() { api DELETE /servers/delta && [[ $(<"$here/.code") == 200 ]]; }
one_commit 'delete server/delta' remove
[[ ! -e work/servers/delta.yaml ]] || fail 'the deleted server has a file'

# Deleting what a project needs is refused, and names what needs it.
expect 1 mcpctl delete server beta
assert_contains "$err" project/all
assert_eq "$(head_of_remote)" "$(git -C work rev-parse HEAD)"

one_commit 'delete project/all' mcpctl delete project all
one_commit 'delete server/beta' mcpctl delete server beta
assert_lacks "$(<work/servers/pair.yaml)" beta
assert_contains "$(<work/servers/pair.yaml)" "'quoted on purpose'"

# A push from an older base is refused by git; pull --rebase and push again works, and both changes stay.
git clone -q "$remote" late
one_commit 'update server/alpha: .*description.*' mcpctl patch server alpha 'description=by the API'
idle late/servers/epsilon.yaml epsilon 'by a push'
commit late 'From an older base'
push late
((status != 0)) || fail 'a push from an older base was accepted'
assert_contains "$(<"$here/.push")" rejected
git -C late pull -q --rebase origin main
push_ok late
wait_for same
assert_contains "$(mcpctl get server alpha -o yaml)" 'by the API'
assert_contains "$(mcpctl get server epsilon -o yaml)" 'by a push'

# mcpd makes no commit that no mutation asked for.
last=$(head_of_remote)
stop_mcpd
start_mcpd
wait_for same
assert_eq "$(head_of_remote)" "$last" 'a restart made a commit'
