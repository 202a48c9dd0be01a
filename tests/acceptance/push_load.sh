#!/usr/bin/env bash
# The push gate under load: many clients at once with their retries, beside edits through the API and branches that are
# only planned; clients that are killed at many moments; an mcpd that ends, politely or not, in the middle of pushes; one
# push of very many files; push options. MCPCTL_LONG=1 makes it much longer.
source "$ROOT/tests/support/lib.sh"
needs git curl jq pgrep python3

clients=5 commits=3 cuts=10 restarts=8 files=1000
[[ -z ${MCPCTL_LONG:-} ]] || clients=12 commits=8 cuts=100 restarts=80 files=10000
seed=${SEED:-20261124}
RANDOM=$seed
say "seed $seed"

start_mcpd
clone work
idle work/servers/api.yaml api start
idle work/servers/steady.yaml steady start
commit work 'The first servers'
push_ok work

patched() {
    curl -s -m 60 -o /dev/null -w '%{http_code}' -X PATCH -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/merge-patch+json' "$url/api/v1/servers/api?wait=commit" \
        --data-binary "{\"description\":\"$1\"}"
}

# What belongs to mcpd's git: processes whose environment names its folder.
git_at_work() {
    local found
    found=$(grep -slaz "^GIT_PROJECT_ROOT=$data\$" /proc/[0-9]*/environ || true)
    [[ -n $found ]]
}
quarantined() { compgen -G "$data/config.git/objects/tmp_objdir-*" >/dev/null; }
nothing_left() { ! git_at_work && ! quarantined; }
not() { ! "$@"; }

say '-- push options'
idle work/servers/steady.yaml steady options
commit work 'Options'
push work -o force
((status != 0)) || fail 'an unknown option was taken'
assert_line "$said" 'error: -o force is not known: there are allow-mass-delete, new-epoch, no-wait and wait=SECONDS'
assert_line "$said" 'refused: nothing was changed'
push work -o wait=soon
((status != 0)) || fail 'a wait that is no number was taken'
assert_line "$said" 'error: -o wait=soon: give whole seconds, at most 3600'
push_ok work -o no-wait

say "-- $clients clients at once, $commits commits each, with their retries; the API and other branches beside them"
one_client() {
    local me=$1 n tries
    git clone -q "$remote" "client-$me" 2>/dev/null
    for ((n = 1; n <= commits; n++)); do
        idle "client-$me/servers/c-$me-$n.yaml" "c-$me-$n" "by $me"
        commit "client-$me" "client $me commit $n"
        for ((tries = 1; ; tries++)); do
            git -C "client-$me" push -o no-wait origin HEAD:main >"client-$me.out" 2>&1 && break
            sed 's/[[:space:]]*$//' "client-$me.out" >>"client-$me.refused"
            ((tries < 500)) || return 1
            # Whoever always tries at once may lose every race.
            sleep "0.$((RANDOM % 10))"
            git -C "client-$me" pull -q --rebase origin main 2>>"client-$me.pull" || return 1
        done
    done
}
proposing() {
    local n
    git clone -q "$remote" proposals 2>/dev/null
    for ((n = 1; n <= clients * 2; n++)); do
        idle "proposals/servers/proposed-$n.yaml" "proposed-$n" never
        commit proposals "proposal $n"
        git -C proposals push -q -o no-wait origin "HEAD:refs/heads/proposal-$n" >proposals.out 2>&1 || return 1
        grep -q "planned only, nothing is applied" proposals.out || return 1
        git -C proposals reset -q --hard HEAD~1
    done
}
editing() {
    local n
    for ((n = 1; n <= clients * 4; n++)); do
        [[ $(patched "edit-$n") == 200 ]] || return 1
    done
}
jobs=()
for ((client = 1; client <= clients; client++)); do
    one_client "$client" >"job-$client.log" 2>&1 &
    jobs+=($!)
done
proposing >job-proposing.log 2>&1 &
jobs+=($!)
editing >job-editing.log 2>&1 &
jobs+=($!)
for job in "${jobs[@]}"; do
    wait "$job" || fail "one of them did not come through: $(tail -n 5 client-*.out proposals.out 2>/dev/null)"
done
git -C work pull -q --rebase origin main
for ((client = 1; client <= clients; client++)); do
    for ((n = 1; n <= commits; n++)); do
        assert_eq "$(git -C work log --format=%s | grep -cx "client $client commit $n")" 1 "commit $n of client $client"
        [[ -f work/servers/c-$client-$n.yaml ]] || fail "the file of commit $n of client $client"
    done
done
wait_for same
assert_eq "$(api GET /servers | jq '[.items[].resource.name | select(startswith("c-"))] | length')" $((clients * commits))
assert_eq "$(api GET /servers | jq '[.items[].resource.name | select(startswith("proposed-"))] | length')" 0 'a proposal was applied'
assert_eq "$(git -C work ls-remote origin 'refs/heads/proposal-*' | wc -l)" $((clients * 2))
# Who came too late was told how to go on: by git before it asked mcpd, or by mcpd with the number of commits since.
refusals=$(cat client-*.refused 2>/dev/null | grep -c '^ ! \[' || true)
while read -r line; do
    [[ $line =~ ^remote:\ hint:\ [0-9]+\ commits?(\ by\ mcpctl)?\ since\ [0-9a-f]{7}:\ git\ pull\ --rebase ]] || fail "no way out in: $line"
done < <(cat client-*.refused 2>/dev/null | grep '^remote: hint' || true)
if grep -hE '^ ! \[' client-*.refused 2>/dev/null | grep -vE 'fetch first|non-fast-forward|pre-receive hook declined|cannot lock ref|failed to update ref|incorrect old value|stale info|remote rejected'; then
    fail 'a refusal of another kind'
fi
wait_for nothing_left
assert_eq "$(patched settled)" 200 'the lease is held by nobody, so an edit gets its commit'

say "-- $cuts clients that are killed at some moment"
git -C work pull -q --rebase origin main
killed=0
for ((n = 1; n <= cuts; n++)); do
    idle "work/servers/cut-$n.yaml" "cut-$n" cut
    head -c $((RANDOM * 60)) /dev/urandom | base64 >work/noise.txt
    commit work "cut $n"
    setsid git -C work push -q origin HEAD:main >cut.out 2>&1 </dev/null &
    client=$!
    sleep "0.$(printf '%03d' $((RANDOM % 900)))"
    kill -KILL -- "-$client" 2>/dev/null && killed=$((killed + 1)) || true
    status=0
    wait "$client" 2>/dev/null || status=$?
    wait_for nothing_left
    now=$(head_of_remote)
    mine=$(git -C work rev-parse HEAD)
    ((status != 0)) || [[ $now == "$mine" ]] || fail "round $n: accepted, and not there"
    [[ $now == "$mine" || $now == "$(git -C work rev-parse HEAD~1)" ]] || fail "round $n: the branch is at $now"
    if [[ $now != "$mine" ]]; then git -C work reset -q --hard HEAD~1; fi
    if ((n % 5 == 0)); then
        assert_eq "$(patched "cut-$n")" 200 "round $n: the lease was leaked"
        git -C work pull -q --rebase origin main
    fi
done
idle work/servers/steady.yaml steady 'after the cuts'
commit work 'After the cuts'
push_ok work -o no-wait

say "-- $restarts times mcpd ends while a push is under way"
taken=0 refused=0 unknown=0
for ((n = 1; n <= restarts; n++)); do
    git -C work fetch -q origin main
    git -C work reset -q --hard FETCH_HEAD
    idle "work/servers/restart-$n.yaml" "restart-$n" restart
    commit work "restart $n"
    mine=$(git -C work rev-parse HEAD)
    git -C work push -q -o no-wait origin HEAD:main >restart.out 2>&1 &
    client=$!
    sleep "0.$(printf '%03d' $((RANDOM % 400)))"
    signal=TERM
    ((n % 2)) || signal=KILL
    stop_mcpd "$signal"
    status=0
    wait "$client" || status=$?
    # git's own processes outlive an mcpd that is killed, for a moment; their hooks find nobody and refuse.
    wait_for not git_at_work
    moved=$(git --git-dir "$data/config.git" rev-parse refs/heads/main)
    if ((status == 0)); then
        git --git-dir "$data/config.git" merge-base --is-ancestor "$mine" "$moved" ||
            fail "round $n ($signal): git said that it was accepted, and it is not there"
        taken=$((taken + 1))
    elif [[ $moved == "$mine" ]]; then
        # Nobody was left to say so.
        unknown=$((unknown + 1))
        [[ $signal == KILL ]] || say "round $n: ended politely, and the client was not told: $(<restart.out)"
    else
        refused=$((refused + 1))
    fi
    start_mcpd
    repoint work
    wait_for same
    if [[ $moved == "$mine" ]]; then
        mcpctl get server "restart-$n" >/dev/null || fail "round $n ($signal): the branch moved, and it is not in force"
    elif mcpctl get server "restart-$n" >/dev/null 2>&1; then
        fail "round $n ($signal): in force, and the branch did not move"
    fi
done

# What git left when its mcpd was killed is swept away with the next push, once it is old enough to be nobody's.
find "$data/config.git/objects" -maxdepth 1 -name 'tmp_objdir-*' -exec touch -d '1 hour ago' {} +

say "-- one push of $files files"
git -C work fetch -q origin main
git -C work reset -q --hard FETCH_HEAD
python3 - "$files" <<'PYTHON'
import os, sys
os.makedirs('work/many', exist_ok=True)
for n in range(int(sys.argv[1])):
    with open(f'work/many/m-{n}.yaml', 'w') as file:
        file.write(f'kind: server\nname: m-{n}\ndescription: one of many\ncommand: ["true"]\nreplicas: 0\n')
PYTHON
commit work 'Many files'
begun=$(date +%s%N)
push_ok work -o no-wait
many=$((($(date +%s%N) - begun) / 1000000))
assert_line "$said" "plan [0-9a-f]{7}: $files to create, 0 to change, 0 to delete, 0 conflicts, [0-9]+ unchanged"
assert_line "$said" " *and $((files - 100)) more"
assert_line "$said" 'applied: revision [0-9]+'
(($(wc -l <<<"$said") < 150)) || fail "the output is not bounded: $(wc -l <<<"$said") lines"
assert_eq "$(api GET /servers | jq '[.items[].resource.name | select(startswith("m-"))] | length')" "$files"
for ((n = 0; n < 30; n++)); do printf 'kind: server\nname: m-%s\nreplica: 1\ncommand: ["true"]\n' "$n" >"work/many/m-$n.yaml"; done
commit work 'Many errors'
push work
((status != 0)) || fail 'many errors were taken'
assert_line "$said" 'and 10 more'
git -C work reset -q --hard HEAD~1
git -C work rm -q -r many
commit work 'None of them'
push work
assert_line "$said" "error: this would delete $files of .*"
push_ok work -o allow-mass-delete -o no-wait
wait_for same

wait_for nothing_left
git -C work fsck --no-dangling >/dev/null 2>&1 || fail 'the clone is damaged'
git --git-dir "$data/config.git" fsck --no-dangling >/dev/null 2>&1 || fail 'the hosted repository is damaged'
summary=$(jq -n --argjson seed "$seed" --argjson clients "$clients" --argjson commits "$((clients * commits))" \
    --argjson refusals "$refusals" --argjson cuts "$cuts" --argjson killed "$killed" --argjson restarts "$restarts" \
    --argjson taken "$taken" --argjson refused "$refused" --argjson unknown "$unknown" --argjson files "$files" --argjson many "$many" \
    '{what: "pushes under load: clients at once with retries, beside API edits; clients killed; mcpd ended in the middle; many files in one push",
    $seed, $clients, $commits, $refusals, lost: 0, clientsKilled: $killed, ofCuts: $cuts, $restarts, acceptedAtRestart: $taken,
    refusedAtRestart: $refused, movedAndNotTold: $unknown, files: $files, filesMilliseconds: $many}')
say "$summary"
if [[ -n ${MCPCTL_LONG:-} ]]; then
    mkdir -p "$ROOT/docs/proof"
    printf '%s\n' "$summary" >"$ROOT/docs/proof/push_load.json"
fi
