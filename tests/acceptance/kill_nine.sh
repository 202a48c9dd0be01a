#!/usr/bin/env bash
# kill -9 of mcpd at seeded moments during pushes and API writes: what was accepted is in the repository and in the
# store afterwards, both agree, and no server outlives its mcpd. 20 rounds; MCPCTL_LONG=1 makes it 200.
source "$ROOT/tests/support/lib.sh"
needs git curl jq pgrep

rounds=20
[[ -z ${MCPCTL_LONG:-} ]] || rounds=200
seed=${SEED:-20261122}
RANDOM=$seed
say "seed $seed"

start_mcpd
clone work
fake work/servers/plain.yaml plain
fake work/servers/stubborn.yaml stubborn stubborn
idle work/servers/edited.yaml edited start
# Two doors at one resource: pushes change its description, the API its time limit.
{
    printf 'kind: server\nname: shared\ndescription: start\ncommand: ["true"]\nreplicas: 0\n'
    printf '# %s\n' these lines keep the two apart so that git can bring them together by itself
    printf 'timeoutSeconds: 1\n'
} >work/servers/shared.yaml
commit work 'Two running servers'
push_ok work
wait_for converged
assert_eq "$(marked | wc -l)" 2

declare -A accepted=()   # name → description, of writes that were answered with success
pushes=0 writes=0 cut=0

# Writes until something fails, noting in `notes` what was accepted. Each runs beside the killer.
push_until_killed() {
    local n name
    for n in {1..40}; do
        name=p-$1-$n
        git -C work pull -q --rebase origin main 2>/dev/null || return 0
        idle "work/servers/$name.yaml" "$name" "value-$1-$n"
        sed -i "s/^description: .*/description: value-$1-$n/" work/servers/shared.yaml
        commit work "Add $name" || return 0
        printf 'try %s\ntry shared.description\n' "$name" >>notes
        git -C work push -q -o no-wait origin HEAD:main 2>/dev/null || return 0
        printf 'push %s value-%s-%s\npush shared.description value-%s-%s\n' "$name" "$1" "$n" "$1" "$n" >>notes
    done
}

write_until_killed() {
    local n name code limit
    for n in {1..400}; do
        name=a-$1-$((n % 5))
        printf 'try %s\n' "$name" >>notes
        code=$(curl -s -m 30 -o /dev/null -w '%{http_code}' -X PUT -H "Authorization: Bearer $token" \
            -H 'Content-Type: application/json' "$url/api/v1/servers/$name" --data-binary \
            "{\"kind\":\"server\",\"name\":\"$name\",\"description\":\"value-$1-$n\",\"command\":[\"true\"],\"replicas\":0}") ||
            return 0
        [[ $code == 2* ]] || return 0
        printf 'write %s value-%s-%s\n' "$name" "$1" "$n" >>notes
        # Never 60: that is what a server has where nothing is said, and is not shown.
        limit=$((($1 * 17 + n) % 3000 + 100))
        printf 'try shared.limit\n' >>notes
        code=$(curl -s -m 30 -o /dev/null -w '%{http_code}' -X PATCH -H "Authorization: Bearer $token" \
            -H 'Content-Type: application/merge-patch+json' "$url/api/v1/servers/shared" \
            --data-binary "{\"timeoutSeconds\":$limit}") || return 0
        [[ $code == 2* ]] || return 0
        printf 'write shared.limit %s\n' "$limit" >>notes
    done
}

check() {
    local name value in_repo
    in_store=$(api GET /servers | jq -r '.items[].resource | "\(.name) \(.description // "")",
        (select(.name == "shared") | "shared.description \(.description)", "shared.limit \(.timeoutSeconds)")')
    git -C work fetch -q origin main
    in_repo=$(git -C work archive FETCH_HEAD servers | tar -xO | awk '
        /^name:/ {name = $2}
        /^description:/ {print name, $2}
        name == "shared" && /^description:/ {print "shared.description", $2}
        name == "shared" && /^timeoutSeconds:/ {print "shared.limit", $2}')
    for name in "${!accepted[@]}"; do
        value=${accepted[$name]}
        # The write under way when the kill came may have landed as well: then a later value stands in both.
        if [[ -n ${open[$name]:-} ]]; then
            grep -q "^$name " <<<"$in_store" || fail "round $round: $name is lost from the store"
            grep -q "^$name " <<<"$in_repo" || fail "round $round: $name is lost from the repository"
            continue
        fi
        grep -qx "$name $value" <<<"$in_store" || fail "round $round: $name: the store lost \"$value\": $(grep "^$name " <<<"$in_store")"
        grep -qx "$name $value" <<<"$in_repo" || fail "round $round: $name: the repository lost \"$value\": $(grep "^$name " <<<"$in_repo")"
    done
}

for ((round = 1; round <= rounds; round++)); do
    : >notes
    kind=$((RANDOM % 3))
    jobs=()
    ((kind == 1)) || { push_until_killed "$round" >/dev/null 2>&1 & jobs+=($!); }
    ((kind == 0)) || { write_until_killed "$round" >/dev/null 2>&1 & jobs+=($!); }
    sleep "$(printf '0.%03d' $((RANDOM % 900 + 50)))"
    kill -KILL "$mcpd"
    wait "$mcpd" 2>/dev/null || true
    for job in "${jobs[@]}"; do
        wait "$job" || true
    done
    git -C work rebase --abort 2>/dev/null || true

    # Nobody is left to own them, so no server may be left either.
    WAIT=60 wait_for marked_is 0

    declare -A open=()
    while read -r what name value; do
        case $what in
            try) open[$name]=1 ;;
            *)
                accepted[$name]=$value
                unset "open[$name]"
                if [[ $what == push ]]; then pushes=$((pushes + 1)); else writes=$((writes + 1)); fi
                ;;
        esac
    done <notes
    cut=$((cut + ${#open[@]}))

    start_mcpd
    repoint work
    wait_for same
    check
    # What may have landed is known from here on.
    for name in "${!open[@]}"; do
        [[ -z ${accepted[$name]:-} ]] || accepted[$name]=$(awk -v name="$name" '$1 == name {print $2}' <<<"$in_store")
    done
    unset open
    git -C work reset -q --hard FETCH_HEAD
    wait_for marked_is 2
done

wait_for converged
((pushes > 0 && writes > 0)) || fail "nothing was tried: $pushes pushes, $writes writes"
git -C work fsck --no-dangling >/dev/null 2>&1 || fail 'the clone is damaged'
hosted=$(find "$data" -maxdepth 4 -type d -name objects -print -quit)
git --git-dir "$(dirname "$hosted")" fsck --no-dangling >/dev/null 2>&1 || fail 'the hosted repository is damaged'
summary=$(jq -n --argjson rounds "$rounds" --argjson seed "$seed" --argjson pushes "$pushes" --argjson writes "$writes" \
    --argjson cut "$cut" '{what: "kill -9 of mcpd during pushes and API writes, also of one resource by both doors", $rounds, $seed,
    acceptedPushes: $pushes, acceptedWrites: $writes, cutInFlight: $cut, lost: 0, orphans: 0}')
say "$summary"
[[ -z ${MCPCTL_LONG:-} ]] || proof kill_nine "$summary"

# A polite end leaves nobody behind either.
stop_mcpd
wait_for marked_is 0
