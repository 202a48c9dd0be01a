#!/usr/bin/env bash
# Both sides change one resource before they have seen each other: merged by field, the store wins where both changed the
# same, and what lost is told, shown with both diffs, and taken or left by one word.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

start_mcpd
clone work
mkdir -p work/servers
cat >work/servers/web.yaml <<'TEXT'
# The web, as far as it is ours.
kind: server
name: web
command: ["true"]
replicas: 0
timeoutSeconds: 9
description: a    # a remark
env:
  # Where it listens.
  - name: PORT
    value: "80"
  - name: MODE
    value: plain
TEXT
idle work/servers/gone.yaml gone a
idle work/servers/kept.yaml kept a
commit work 'Three servers'
push_ok work
wait_for same

# both_sides: what the function `by_api` does is in the store alone, what `by_push` does is on main alone, and neither has
# seen the other: mcpd can't move the branch, dies, and the branch moves while it is away.
bare=$data/config.git
both_sides() {
    git -C work pull -q --ff-only origin main
    # A lock that its owner never lets go of.
    : >"$bare/refs/heads/main.lock"
    by_api
    kill -KILL "$mcpd"
    wait "$mcpd" 2>/dev/null || true
    rm -f "$bare/refs/heads/main.lock"
    by_push
    git --git-dir "$bare" fetch -q "$here/work" main:main
    pushed=$(git -C work rev-parse HEAD)
    short=${pushed:0:7}
    start_mcpd
    repoint work
    wait_for same
    git -C work pull -q --ff-only origin main
}

# Different fields, and different variables: nothing is lost, nothing is told but the merge.
by_api() {
    expect 0 mcpctl patch server web timeoutSeconds=5 'env.MODE=fancy'
}
by_push() {
    sed -i 's/description: a /description: b /; s/"80"/"8080"/' work/servers/web.yaml
    commit work 'Another port'
}
both_sides
cat >want.yaml <<'TEXT'
# The web, as far as it is ours.
kind: server
name: web
command: ["true"]
replicas: 0
timeoutSeconds: 5
description: b    # a remark
env:
  # Where it listens.
  - name: PORT
    value: "8080"
  - name: MODE
    value: fancy
TEXT
diff -u want.yaml work/servers/web.yaml || fail 'the merge is not what both sides wrote, line by line'
expect 0 mcpctl get conflicts
assert_contains "$out$err" 'no conflicts'
expect 0 mcpctl get events server/web -o json
assert_contains "$out" 'both sides changed it, and the changes were merged (from the repository: description, env.PORT; from the store: env.MODE, timeoutSeconds)'
assert_eq "$(git -C work log -1 --format=%an:%s)" 'admin:update server/web: env.MODE "plain" → "fancy", timeoutSeconds 9 → 5'

# The same field: the store's is kept, the repository's is a record with both diffs.
by_api() {
    expect 0 mcpctl patch server web description=c
}
by_push() {
    sed -i 's/description: b /description: d /; s/"8080"/"9090"/' work/servers/web.yaml
    commit work 'Another description'
}
both_sides
assert_contains "$(<work/servers/web.yaml)" 'description: c    # a remark'
assert_contains "$(<work/servers/web.yaml)" '"9090"'
assert_contains "$(git -C work log -1 --format=%B)" "server/web: kept over $short: description"
expect 0 mcpctl get conflicts
assert_line "$out" "[0-9]+ +server/web +description +$short +servers/web.yaml:2 .*"
expect 0 mcpctl describe conflict server/web
assert_contains "$out" "! server/web  description: the store's \"c\" kept, yours \"d\" (mcpctl conflicts accept server/web --from repo)"
assert_contains "$out" '+++ the repository, which lost'
assert_contains "$out" '+++ the store, which was kept'
assert_contains "$out" $'-description: b\n+description: d'
assert_contains "$out" $'-description: b\n+description: c'
assert_line "$out" ' +-?.*9090.*|.*9090.*'
expect 0 mcpctl describe server web
assert_contains "$out" '+++ the repository, which lost'
expect 3 mcpctl status --check
assert_contains "$out$err" '1 conflict'
expect 1 mcpctl describe conflict server/kept

# Turned round: one more commit, by who asked for it; and the conflict is over.
expect 0 mcpctl conflicts accept server/web --from repo
wait_for same
git -C work pull -q --ff-only origin main
assert_contains "$(<work/servers/web.yaml)" 'description: d    # a remark'
assert_line "$(git -C work log -1 --format=%an:%s)" 'admin:update server/web: description "c" → "d"'
expect 0 mcpctl status --check

# Deleted on one side and changed on the other, both ways round: the store's side stays.
by_api() {
    expect 0 mcpctl patch server kept description=changed
    expect 0 mcpctl delete server gone
}
by_push() {
    git -C work rm -q servers/kept.yaml
    sed -i 's/description: .*/description: changed/' work/servers/gone.yaml
    commit work 'The other way round'
}
both_sides
assert_contains "$(<work/servers/kept.yaml)" 'description: changed'
[[ ! -e work/servers/gone.yaml ]] || fail 'what the store deleted is back'
expect 0 mcpctl get conflicts
assert_contains "$out" 'its deletion'
assert_contains "$out" 'all of it: deleted in the store'
# One is taken, one is left as it is: no commit for what is so already.
expect 0 mcpctl conflicts accept server/gone --from repo
wait_for same
last=$(head_of_remote)
expect 0 mcpctl conflicts accept server/kept --from store
wait_for same
assert_eq "$(head_of_remote)" "$last" 'accepting what is in force made a commit'
expect 0 mcpctl get servers -o name
assert_eq "$out" $'server/gone\nserver/kept\nserver/web'
expect 0 mcpctl status --check

# Two conflicts of one resource are two records, and one word decides both.
for value in one two; do
    by_api() { expect 0 mcpctl patch server web "description=store $value" "env.PORT=store $value"; }
    by_push() {
        sed -i "s/description: [^#]*/description: mine $value /" work/servers/web.yaml
        [[ $value == one ]] || sed -i "/PORT/{n;s/value: .*/value: mine $value/}" work/servers/web.yaml
        commit work "Mine $value"
    }
    both_sides
done
expect 0 mcpctl get conflicts -o name
assert_eq "$out" $'conflict/server/web\nconflict/server/web'
expect 0 mcpctl conflicts accept server/web --from repo
wait_for same
git -C work pull -q --ff-only origin main
assert_contains "$(<work/servers/web.yaml)" 'description: mine two'
assert_contains "$(<work/servers/web.yaml)" 'value: mine two'
expect 0 mcpctl status --check
