#!/usr/bin/env bash
# kill -9 of mcpd, 100 times, under pushes, writes and container deaths: what was accepted is in the repository and in the
# store afterwards, containers that nothing befell are never restarted and never doubled, and those that died are back.
# MCPCTL_LONG=1 makes it 500.
source "$ROOT/tests/support/lib.sh"
needs git curl jq docker
docker_cluster
rounds=100
[[ -z ${MCPCTL_LONG:-} ]] || rounds=500
seed=${SEED:-20261124}
RANDOM=$seed
say "seed $seed"

start_mcpd
clone work
mkdir -p work/servers
for name in steady mortal; do
    printf 'kind: server\nname: %s\ndockerImage: %s\n' "$name" "$MCPCTL_TEST_FIXTURE_IMAGE" >"work/servers/$name.yaml"
done
idle work/servers/edited.yaml edited start
commit work 'Two in containers'
push_ok work -o wait=60
wait_for converged
of() { containers --filter "label=mcpctl.io/server=$1"; }
steady=$(docker inspect --format '{{.Id}} {{.State.Pid}}' "$(of steady)")

declare -A accepted=()
pushes=0 writes=0 deaths=0 cut=0
push_until_killed() {
    local n name
    for n in {1..20}; do
        name=p-$1-$n
        git -C work pull -q --rebase origin main 2>/dev/null || return 0
        idle "work/servers/$name.yaml" "$name" "value-$1-$n"
        commit work "Add $name" || return 0
        printf 'try %s\n' "$name" >>notes
        git -C work push -q -o no-wait origin HEAD:main 2>/dev/null || return 0
        printf 'push %s value-%s-%s\n' "$name" "$1" "$n" >>notes
    done
}
write_until_killed() {
    local n name code
    for n in {1..200}; do
        name=a-$1-$((n % 3))
        printf 'try %s\n' "$name" >>notes
        code=$(curl -s -m 30 -o /dev/null -w '%{http_code}' -X PUT -H "Authorization: Bearer $token" \
            -H 'Content-Type: application/json' "$url/api/v1/servers/$name" --data-binary \
            "{\"kind\":\"server\",\"name\":\"$name\",\"description\":\"value-$1-$n\",\"command\":[\"true\"],\"replicas\":0}") || return 0
        [[ $code == 2* ]] || return 0
        printf 'write %s value-%s-%s\n' "$name" "$1" "$n" >>notes
    done
}
check() {
    local name value in_store in_repo
    in_store=$(api GET /servers | jq -r '.items[].resource | "\(.name) \(.description // "")"')
    git -C work fetch -q origin main
    in_repo=$(git -C work archive FETCH_HEAD servers | tar -xO | awk '/^name:/ {name = $2} /^description:/ {print name, $2}')
    for name in "${!accepted[@]}"; do
        [[ -z ${open[$name]:-} ]] || continue
        value=${accepted[$name]}
        grep -qx "$name $value" <<<"$in_store" || fail "round $round: $name: the store lost \"$value\""
        grep -qx "$name $value" <<<"$in_repo" || fail "round $round: $name: the repository lost \"$value\""
    done
}
one_each() {
    local listed
    listed=$(containers --filter status=running)
    [[ $(wc -l <<<"$listed") == 2 ]] && [[ $(containers | wc -l) == 2 ]] && mcpctl status | grep -Eq '^mortal/0 +RUNNING' &&
        mcpctl status | grep -Eq '^steady/0 +RUNNING'
}
for ((round = 1; round <= rounds; round++)); do
    : >notes
    what=$((RANDOM % 4))
    jobs=()
    ((what == 1)) || { push_until_killed "$round" >/dev/null 2>&1 & jobs+=($!); }
    ((what == 0)) || { write_until_killed "$round" >/dev/null 2>&1 & jobs+=($!); }
    if ((RANDOM % 3 == 0)); then
        victim=$(of mortal | head -n 1)
        if ((RANDOM % 2)); then docker kill "$victim" >/dev/null 2>&1 || true; else docker rm -f "$victim" >/dev/null 2>&1 || true; fi
        deaths=$((deaths + 1))
    fi
    sleep "$(printf '0.%03d' $((RANDOM % 900 + 50)))"
    kill -KILL "$mcpd"
    wait "$mcpd" 2>/dev/null || true
    for job in "${jobs[@]}"; do wait "$job" || true; done
    git -C work rebase --abort 2>/dev/null || true
    declare -A open=()
    while read -r kind name value; do
        case $kind in
            try) open[$name]=1 ;;
            *)
                accepted[$name]=$value
                unset "open[$name]"
                if [[ $kind == push ]]; then pushes=$((pushes + 1)); else writes=$((writes + 1)); fi
                ;;
        esac
    done <notes
    cut=$((cut + ${#open[@]}))
    started=()
    start_mcpd
    repoint work
    wait_for same
    check
    for name in "${!open[@]}"; do
        [[ -z ${accepted[$name]:-} ]] || accepted[$name]=$(api GET "/servers/$name" | jq -r .resource.description)
    done
    unset open
    git -C work reset -q --hard FETCH_HEAD
    wait_for one_each
    # Old names are let go of, so that the last round costs what the first did.
    if ((round % 10 == 0)); then
        git -C work rm -q --ignore-unmatch 'servers/p-*' 'servers/a-*'
        commit work 'Let go' 2>/dev/null && push_ok work -o no-wait -o allow-mass-delete
        accepted=()
    fi
done
wait_for converged
assert_eq "$(docker inspect --format '{{.Id}} {{.State.Pid}}' "$(of steady)")" "$steady" 'a container that nothing befell was restarted'
((pushes > 0 && writes > 0 && deaths > 0)) || fail "nothing was tried: $pushes pushes, $writes writes, $deaths deaths"
summary=$(jq -n --argjson rounds "$rounds" --argjson seed "$seed" --argjson pushes "$pushes" --argjson writes "$writes" \
    --argjson deaths "$deaths" --argjson cut "$cut" '{what: "kill -9 of mcpd under pushes, API writes and container deaths",
    $rounds, $seed, acceptedPushes: $pushes, acceptedWrites: $writes, containerDeaths: $deaths, cutInFlight: $cut, lost: 0, restarted: 0, doubled: 0}')
say "$summary"
[[ -z ${MCPCTL_LONG:-} ]] || proof docker_kill_nine "$summary"
