#!/usr/bin/env bash
# mcpctl undo: one revision is taken back by one revision and one commit, whoever made it; what moved since refuses and is
# named; nobody is surprised: the plan comes first, and off a terminal --yes has to be said.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

start_mcpd
clone work
idle work/servers/alpha.yaml alpha one
idle work/servers/beta.yaml beta one
commit work 'Two servers'
push_ok work

moved() { [[ $(head_of_remote) != "$1" ]]; }
field() { mcpctl get server "$1" -o json | jq -r ".resource.$2 // .$2"; }

say '-- a change by mcpctl is taken back by one commit'
expect 0 mcpctl patch server alpha description=two timeoutSeconds=5
done=$(revision)
wait_for same
old=$(head_of_remote)
expect 0 mcpctl undo "$done" --dry-run
assert_line "$out" 'plan: 0 to create, 1 to change, 0 to delete, 0 conflicts, 0 unchanged'
assert_line "$out" '  ~ server/alpha  description "two" → "one", timeoutSeconds 5 → 60'
assert_line "$out" 'dry run: nothing was changed'
assert_eq "$(revision)" "$done"

say '-- nobody can be asked here'
expect 1 mcpctl undo "$done" </dev/null
assert_contains "$out" '~ server/alpha'
assert_line "$err" 'error: nobody can be asked here whether this is meant; nothing was changed'
assert_line "$err" 'hint: --yes says that it is, --dry-run only shows the plan'
assert_eq "$(revision)" "$done"

expect 0 mcpctl undo "$done" --yes
assert_line "$out" "applied: revision $((done + 1))"
wait_for moved "$old"
wait_for same
git -C work pull -q --ff-only origin main
assert_eq "$(git -C work rev-list --count "$old..HEAD")" 1
assert_contains "$(git -C work log -1 --format='%an|%cn|%s')" "admin|mcpd|undo $done: update server/alpha: description"
assert_contains "$(<work/servers/alpha.yaml)" 'description: one'
assert_lacks "$(<work/servers/alpha.yaml)" 'timeoutSeconds: 5'

say '-- what is undone already needs nothing'
expect 0 mcpctl undo "$done"
assert_line "$out" "nothing to change: revision $((done + 1))"

say '-- a push is taken back too'
idle work/servers/beta.yaml beta pushed
git -C work rm -q servers/alpha.yaml
commit work 'Beta, and alpha goes'
push_ok work
pushed=$(revision)
expect 0 mcpctl undo "$pushed" -y -o name
assert_eq "$(sort <<<"$out")" $'server/alpha\nserver/beta'
wait_for same
git -C work pull -q --ff-only origin main
assert_eq "$(git -C work log -1 --format=%s)" "undo $pushed: Beta, and alpha goes"

say '-- what moved since refuses, and names who moved it; other fields stay'
expect 0 mcpctl patch server beta description=three
third=$(revision)
expect 0 mcpctl patch server beta timeoutSeconds=7
expect 0 mcpctl patch server beta description=four
last=$(revision)
expect 1 mcpctl undo "$third" --yes
assert_line "$err" "error: server/beta: description was changed since by revision $last \(admin: update server/beta: description \"three\" → \"four\"\)"
assert_line "$err" "hint: mcpctl undo $last first, or change it by hand"
expect 0 mcpctl undo "$last" --yes
expect 0 mcpctl undo "$third" --yes --wait
wait_for same
git -C work pull -q --ff-only origin main
assert_contains "$(<work/servers/beta.yaml)" 'description: one'
assert_contains "$(<work/servers/beta.yaml)" 'timeoutSeconds: 7'

say '-- what is not there, and what would break others'
expect 1 mcpctl undo 999 --yes
assert_contains "$err" 'error: revision 999 is not there: the newest is'
expect 2 mcpctl undo nonsense
expect 0 mcpctl create server gamma --command true --replicas 0
made=$(revision)
expect 0 mcpctl create project demo --servers gamma
expect 1 mcpctl undo "$made" --yes
assert_line "$err" "error: server/gamma can't be deleted: project/demo needs it"

say '-- a value of a secret comes back only where that is said'
expect 0 mcpctl create secret keys --data TOKEN=first-value-0815
printf 'kind: secret\nname: keys\ndata:\n  TOKEN: second-value-0816\n' >keys.yaml
expect 0 mcpctl apply -f keys.yaml
changed=$(revision)
reveal() { mcpctl get secret keys -o yaml --reveal | sed -n 's/^ *TOKEN: //p'; }
expect 1 mcpctl undo "$changed" --yes
assert_contains "$err" 'error: secret/keys: it changed values of a secret, which keeps today'
assert_eq "$(reveal)" second-value-0816
expect 0 mcpctl undo "$changed" --yes --with-credentials
assert_line "$err" 'warning: secret/keys comes back with its old values'
assert_lacks "$out$err" first-value
assert_eq "$(reveal)" first-value-0815
assert_contains "$(api GET /audit/events)" "undo $changed with credentials: secret/keys"
wait_for same

say '-- what one was shown is what is done: a plan of another revision is refused'
run api POST "/revisions/$changed/undo?revision=1"
assert_eq "$status" 1
assert_contains "$out" 'something has changed since that plan was made'
