#!/usr/bin/env bash
# What scripts may rely on: exit codes, what goes to which output, and the form of errors.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

start_mcpd
clone work
idle work/servers/one.yaml one first
mkdir work/projects
printf 'kind: project\nname: demo\nservers: [one]\n' >work/projects/demo.yaml
commit work 'A good state'
push_ok work
wait_for same

# ---- usage: exit status 2, nothing on stdout -------------------------------------------------------------------------
for words in 'frobnicate' 'get' 'get nothing' 'get server one -o xml' 'patch server one' 'apply' 'get server --no-such-flag'; do
    # shellcheck disable=SC2086
    expect 2 mcpctl $words
    assert_eq "$out" '' "mcpctl $words wrote to stdout"
    assert_line "$(head -n 1 <<<"$err")" 'error: .+'
done
expect 2 mcpctl gett server
assert_contains "$err" get 'no suggestion for a slip'
expect 0 mcpctl --help
assert_eq "$err" ''
expect 0 mcpctl --version
assert_line "$out" 'mcpctl [0-9]+\.[0-9]+\.[0-9]+.*'

# ---- get -------------------------------------------------------------------------------------------------------------
expect 0 mcpctl get server
assert_line "$out" 'NAME .*'
assert_line "$out" 'one .*'
for kind in server servers srv; do
    expect 0 mcpctl get "$kind" -o name
    assert_eq "$out" server/one
done
assert_eq "$(mcpctl get project -o name)" project/demo
expect 0 mcpctl get server one -o json
assert_eq "$(jq -c . <<<"$out")" '{"command":["true"],"description":"first","kind":"server","name":"one","replicas":0}'
expect 0 mcpctl get server -o json
assert_eq "$(jq -r 'type' <<<"$out")" array
expect 0 mcpctl get server one -o yaml
assert_eq "$(head -n 2 <<<"$out")" $'kind: server\nname: one'
expect 1 mcpctl get server nobody
assert_eq "$out" ''
assert_line "$(head -n 1 <<<"$err")" 'error: .*nobody.*'
expect 1 mcpctl get server nobody -o json
assert_eq "$out" ''
assert_eq "$(wc -l <<<"$err")" 1 'a JSON error is not one line'
jq -e '.error and .detail' <<<"$err" >/dev/null || fail "not the form of an error: $err"

# ---- describe --------------------------------------------------------------------------------------------------------
expect 0 mcpctl describe server one
assert_contains "$out" servers/one.yaml
expect 1 mcpctl describe server nobody
assert_eq "$out" ''

# ---- what get prints, apply takes, and it changes nothing -------------------------------------------------------------
now=$(revision)
head=$(head_of_remote)
for what in 'server' 'server one' 'project demo' 'all'; do
    # shellcheck disable=SC2086
    mcpctl get $what -o yaml >all.yaml
    expect 0 mcpctl apply -f - <all.yaml
    # shellcheck disable=SC2086
    mcpctl get $what -o json >all.json
    expect 0 mcpctl apply -f all.json
done
assert_eq "$(revision)" "$now" 'get | apply made a revision'
assert_eq "$(head_of_remote)" "$head" 'get | apply made a commit'

# ---- apply and its dry run -------------------------------------------------------------------------------------------
printf 'kind: server\nname: two\ncommand: ["true"]\nreplicas: 0\n' >two.yaml
printf 'kind: server\nname: two\ncommand: ["true"]\nreplica: 0\n' >wrong.yaml
expect 0 mcpctl apply --dry-run -f two.yaml
assert_contains "$out" '+ server/two'
expect 1 mcpctl get server two
expect 1 mcpctl apply --dry-run -f wrong.yaml
assert_line "$err" 'error: wrong\.yaml:4:1: unknown field.*'
assert_line "$err" 'hint: .*replicas.*'
expect 1 mcpctl apply -f wrong.yaml
expect 1 mcpctl apply -f wrong.yaml -o json
assert_eq "$(wc -l <<<"$err")" 1 'a JSON error is not one line'
assert_eq "$(jq -c '.diagnostics[0] | [.file, .line, .column]' <<<"$err")" '["wrong.yaml",4,1]'
expect 1 mcpctl apply -f no-such-file.yaml
assert_contains "$err" no-such-file.yaml
expect 1 mcpctl get server two

# ---- diff: 0 same, 1 differs, 2 error --------------------------------------------------------------------------------
expect 0 mcpctl diff
assert_eq "$out" ''
expect 0 mcpctl diff -f work/servers
expect 1 mcpctl diff -f two.yaml
assert_contains "$out" 'name: two'
expect 2 mcpctl diff -f wrong.yaml
expect 2 mcpctl diff -f no-such-file.yaml
expect 2 mcpctl --url http://127.0.0.1:1 diff
expect 0 mcpctl apply -f two.yaml
expect 0 mcpctl diff -f two.yaml

# ---- patch and delete ------------------------------------------------------------------------------------------------
expect 0 mcpctl patch server two description=patched timeoutSeconds=5
assert_eq "$(mcpctl get server two -o json | jq -c '[.description, .timeoutSeconds]')" '["patched",5]'
expect 0 mcpctl patch server two description=null
assert_eq "$(mcpctl get server two -o json | jq -c .description)" null
for bad in replica=1 replicas=many replicas=11 replicas=-1 update=never; do
    run mcpctl patch server two "$bad"
    ((status == 1 || status == 2)) || fail "exit status $status: patch $bad"
    assert_line "$(head -n 1 <<<"$err")" 'error: .+'
done
expect 1 mcpctl patch server nobody replicas=1
expect 1 mcpctl delete server nobody
expect 1 mcpctl delete server one
assert_contains "$err" project/demo
expect 0 mcpctl delete server two
expect 1 mcpctl get server two

# ---- status and sync: 3 where something remains ----------------------------------------------------------------------
wait_for converged
expect 0 mcpctl sync
expect 0 mcpctl sync --wait
expect 0 mcpctl status
expect 0 mcpctl status -o json
assert_eq "$(jq -c '[.converged, .resources]' <<<"$out")" '[true,2]'
printf 'kind: server\nname: broken\ncommand: [no-such-program-here]\n' >broken.yaml
expect 0 mcpctl apply -f broken.yaml
unwell() { mcpctl status | grep -q ERROR; }
wait_for unwell
expect 0 mcpctl status
expect 3 mcpctl status --check
expect 3 mcpctl sync --wait 2
expect 0 mcpctl delete server broken
wait_for converged

# ---- the connection --------------------------------------------------------------------------------------------------
expect 1 mcpctl --url http://127.0.0.1:1 get server
assert_eq "$out" ''
assert_line "$(head -n 1 <<<"$err")" 'error: .*127\.0\.0\.1:1.*'
assert_line "$err" 'hint: .+'
expect 1 env MCPCTL_TOKEN=wrong mcpctl get server
assert_eq "$out" ''
assert_line "$err" 'hint: .+'
expect 1 env MCPCTL_TOKEN=wrong mcpctl -o json get server
jq -e .error <<<"$err" >/dev/null || fail "not JSON: $err"
expect 0 env MCPCTL_URL=http://127.0.0.1:1 mcpctl --url "$url" get server -o name

# ---- no colour and no progress off a terminal; NO_COLOR on one ---------------------------------------------------------
escape=$(printf '\033')
for words in 'get server' 'describe server one' 'status' 'diff' '--help'; do
    # shellcheck disable=SC2086
    run mcpctl $words
    assert_lacks "$out$err" "$escape" "mcpctl $words coloured a pipe"
done
if command -v script >/dev/null 2>&1; then
    assert_lacks "$(NO_COLOR=1 script -qec 'mcpctl get server; mcpctl status; mcpctl get server nobody' /dev/null </dev/null)" \
        "${escape}[3" 'NO_COLOR is not honoured'
fi

# A reader that goes away is no failure to make noise about.
mcpctl get all -o yaml 2>closed.err | head -n 1 >/dev/null || true
assert_lacks "$(<closed.err)" panicked
