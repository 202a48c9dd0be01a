#!/usr/bin/env bash
# mcpctl repo scrub: what leaked is gone from every object of the served repository, from its branches, tags and timelines;
# what is declared and what runs stays; what was is kept for mcpd's owner alone; clones are told how to follow.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

leaked=leaked-value-$RANDOM$RANDOM
start_mcpd
clone work
idle work/servers/alpha.yaml alpha one
commit work 'A server'
push_ok work
first=$(head_of_remote)
idle work/servers/beta.yaml beta "$leaked"
commit work "A slip: $leaked"
push_ok work
git -C work push -q origin HEAD:refs/heads/theirs 2>/dev/null
git -C work tag -a -m "$leaked" v1
git -C work push -q origin v1 2>/dev/null
expect 0 mcpctl patch server alpha description=two
wait_for same
expect 0 mcpctl patch server beta description=harmless
wait_for same
expect 0 mcpctl restore to HEAD~1 --yes
wait_for same
git -C work pull -q --ff-only origin main
old=$(head_of_remote)
bare=$data/config.git
in_objects() { git --git-dir="$bare" cat-file --batch-all-objects --batch --unordered | grep -caF -- "$leaked" || true; }
digest() { mcpctl restore --verify -o json | jq -r .digest; }

say '-- a value is read from a file or stdin, and never given as an argument'
expect 2 mcpctl repo scrub --value "$leaked"
expect 2 mcpctl repo scrub
printf 'abc\n' >short
expect 1 mcpctl repo scrub --value-file short --yes
assert_contains "$err" 'a value has at least 6 characters'

say '-- what is in force has to be taken out first'
printf '%s\n' "$leaked" >value
expect 1 mcpctl repo scrub --value-file value --yes
assert_line "$err" 'error: it still stands in the newest state of main: take it out there first'
assert_eq "$(head_of_remote)" "$old"
expect 0 mcpctl patch server beta description=harmless
wait_for same
wait_for converged
old=$(head_of_remote)
before=$(digest)
revision=$(revision)
git -C work pull -q --ff-only origin main

say '-- the plan says where it stands, and changes nothing'
[[ $(in_objects) != 0 ]] || fail 'nothing leaked'
expect 0 mcpctl repo scrub --value-file value --dry-run
assert_line "$out" 'servers/beta.yaml in [0-9a-f]{7}'
assert_line "$out" 'its message in [0-9a-f]{7}'
assert_line "$out" 'rewrites [0-9]+ of [0-9]+ commits: main, theirs, timeline/.*, refs/tags/v1'
assert_line "$out" 'dry run: nothing was changed'
assert_lacks "$out$err" "$leaked"
expect 1 mcpctl repo scrub --value-file value </dev/null
assert_line "$err" 'error: nobody can be asked here whether this is meant; nothing was changed'
assert_eq "$(head_of_remote)" "$old"

say '-- it is gone from every object, and nothing else changed'
run mcpctl repo scrub --value-file - --yes <value
assert_eq "$status" 0 "$err"
assert_line "$err" 'hint: replace the credential where it was issued.*'
assert_contains "$err" "note: mcpd's own records of what revision"
bundle=$(sed -n 's/^what was is kept in //p' <<<"$out")
assert_eq "$(in_objects)" 0 'objects that hold it'
git --git-dir="$bare" fsck --strict --no-dangling >/dev/null
assert_eq "$(stat -c %a "$bundle") $(stat -c %a "${bundle%/*}")" '600 700'
git clone -q "$bundle" was 2>/dev/null
assert_eq "$(git -C was rev-parse origin/main)" "$old"
new=$(head_of_remote)
[[ $new != "$old" ]] || fail 'the head is what it was'
git clone -q "$remote" fresh 2>/dev/null
assert_eq "$(git -C fresh rev-parse 'HEAD^{tree}')" "$(git -C was rev-parse 'HEAD^{tree}')"
assert_eq "$(git -C fresh rev-list --max-parents=0 HEAD)" "$first" 'what held nothing keeps its id'
assert_eq "$(git -C fresh log --all -p --format=%B%an%ae | grep -cF "$leaked" || true)" 0
wait_for converged
assert_eq "$(digest) $(revision)" "$before $revision"
expect 0 mcpctl diff
assert_contains "$(api GET /audit/events)" 'scrub the repository; what was is in'
assert_eq "$(grep -rlaF -- "$leaked" "$here/mcpd.log" || true)" '' 'it stands in the log'
for commit in $(api GET /revisions | jq -r '.items[].commit // empty') $(api GET /servers | jq -r '.items[].status.provenance.commit'); do
    git -C fresh merge-base --is-ancestor "$commit" HEAD || fail "$commit is in no history"
done
expect 1 mcpctl restore to "$old" --yes
expect 0 mcpctl repo scrub --value-file value --yes
assert_line "$out" 'nothing of it stands in [0-9]+ commits'

say '-- an old clone brings nothing back, and is told how it follows'
idle work/servers/mine.yaml mine own
commit work 'My own'
for option in '' new-epoch; do
    push work --force ${option:+-o "$option"}
    assert_eq "$status" 1
    assert_line "$said" 'error: this history was scrubbed: commit [0-9a-f]{7} holds what was taken out and must not come back'
    assert_line "$said" "hint: git fetch, then git rebase --onto origin/main ${old:0:7} puts your own commits on the new history"
done
run git -C work push origin HEAD:refs/heads/another
assert_eq "$status" 1
assert_eq "$(in_objects)" 0 'objects that hold it after a refused push'
git -C work fetch -q --force --tags origin
git -C work rebase -q --onto origin/main "${old:0:7}"
push_ok work
assert_contains "$(mcpctl get servers -o name)" server/mine

say '-- mcpd dies in the middle of it: it has happened whole, or it can be asked for again'
for n in 1 2 3; do
    printf 'again-%s-%s\n' "$n" "$leaked" >value
    idle work/servers/beta.yaml beta "again-$n-$leaked"
    commit work 'Another slip'
    idle work/servers/beta.yaml beta harmless
    commit work 'Taken out'
    push_ok work
    wait_for same
    before=$(digest)
    jq -n --arg value "again-$n-$leaked" '{values: [$value]}' >order.json
    curl -sS -o /dev/null -X POST -H "Authorization: Bearer $token" --data-binary @order.json "$url/api/v1/repo/scrub" &
    request=$!
    sleep "0.$(printf '%02d' $((RANDOM % 25)))"
    stop_mcpd KILL
    wait "$request" || true
    start_mcpd
    wait_for same
    expect 0 mcpctl repo scrub --value-file value --yes
    assert_eq "$(in_objects)" 0 'objects that hold it'
    assert_eq "$(digest)" "$before"
    repoint work
    old=$(git -C work rev-parse HEAD)
    git -C work fetch -q --force origin
    git -C work reset -q --hard origin/main
done

say '-- a folder is not mcpd'"'"'s to rewrite'
stop_mcpd
mkdir -p folder
idle folder/servers/a.yaml a one
data=$here/other start_mcpd --watch "$here/folder"
expect 1 mcpctl repo scrub --path servers/a.yaml --yes
assert_line "$err" 'error: only the repository that mcpd hosts can be scrubbed'
