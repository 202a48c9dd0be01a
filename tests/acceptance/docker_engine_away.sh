#!/usr/bin/env bash
# The engine is stopped and started: mcpd says so, takes pushes meanwhile, and everything is back when the engine is. The
# engine is one of this script's own, in a network of its own, so that nobody else's stops.
source "$ROOT/tests/support/lib.sh"
needs git curl jq docker dockerd unshare
[[ $(id -u) == 0 ]] || { echo 'only root can start an engine of its own' >&2 && exit 77; }
docker_cluster

engine=$here/engine
mkdir -p "$engine"
export DOCKER_HOST=unix://$engine/docker.sock
start_engine() {
    unshare --net dockerd --host "$DOCKER_HOST" --data-root "$engine/data" --exec-root "$engine/run" \
        --pidfile "$engine/docker.pid" --iptables=false --ip6tables=false --bridge none >>"$here/engine.log" 2>&1 &
    dockerd=$!
    wait_for docker version
}
stop_engine() {
    kill "$dockerd" 2>/dev/null || true
    wait "$dockerd" 2>/dev/null || true
}
end() {
    local status=$?
    docker ps --all --quiet 2>/dev/null | xargs --no-run-if-empty docker rm --force >/dev/null 2>&1 || true
    stop_engine
    cluster=
    (exit "$status") || true
    on_exit
}
docker -H unix:///var/run/docker.sock save "$MCPCTL_TEST_FIXTURE_IMAGE" >image.tar
start_engine
trap end EXIT
docker load --quiet --input image.tar >/dev/null

start_mcpd
clone work
mkdir -p work/servers
printf 'kind: server\nname: a\ndockerImage: %s\nnetwork: none\n' "$MCPCTL_TEST_FIXTURE_IMAGE" >work/servers/a.yaml
commit work 'One server'
push_ok work -o wait=60
assert_contains "$said" 'RUNNING server/a 1/1'

say '-- the engine stops'
stop_engine
away() { mcpctl status | grep -E '^runtime +docker.*does not answer'; }
wait_for away
curl -sf -o /dev/null "$url/readyz" || fail 'not ready only because the engine is away'
printf 'kind: server\nname: b\ndockerImage: %s\nnetwork: none\n' "$MCPCTL_TEST_FIXTURE_IMAGE" >work/servers/b.yaml
commit work 'A second server, meanwhile'
push_ok work -o no-wait
assert_line "$said" 'containers: unknown \(engine does not answer.*\)'
assert_contains "$said" 'applied: revision'

say '-- the engine is back: what it ended runs again at once, and what was declared meanwhile never failed'
start_engine
wait_for converged
expect 0 mcpctl get instances -o json
assert_eq "$(jq -r '.[] | select(.instance == "b/0") | .failures' <<<"$out")" 0
session_open /servers/a/mcp
assert_contains "$(call_text echo '{"message":"back"}')" back
session_open /servers/b/mcp
assert_contains "$(call_text echo '{"message":"new"}')" new

say '-- mcpd started while the engine is away says so and recovers by itself'
stop_mcpd
stop_engine
start_mcpd
wait_for away
start_engine
wait_for converged
