# A Docker engine for the tests. Sourced by tests/run, which gives `logs` and `has`.
#
# The engine that DOCKER_HOST or the local socket leads to is used as it is. Where none answers, root has one started, and
# exactly that process is ended with tests/run. Otherwise the tests that need one are skipped; under CI that is a failure.

# shellcheck disable=SC2154
# Whatever context a developer has chosen: mcpd knows none.
export DOCKER_CONTEXT=default
dockerd=

# The version of the engine that answers; empty where none does.
engine_version() { timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null || true; }

# Only where the local socket is meant: an engine elsewhere is somebody's to start.
may_start_engine() { [[ $(id -u) == 0 && -z ${DOCKER_HOST:-} ]]; }

# Debian's names of what is missing for an engine.
docker_packages() {
    local version
    version=$(engine_version)
    [[ -n $version ]] || { may_start_engine && has apt-get; } || return 0
    [[ -n $version ]] || { has dockerd && has docker; } || echo docker.io
    [[ -n $version ]] || has iptables || echo iptables
    # What the base images are made of.
    has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || echo busybox-static
}

# start_engine [OPTION...]: waits until it answers; its log is $logs/dockerd.log.
start_engine() {
    # A machine without an init has no hierarchy of control groups.
    grep -q ' /sys/fs/cgroup' /proc/mounts || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # In a session of its own, so that Ctrl-C reaches the tests first and they can remove their containers.
    setsid dockerd "$@" >"$logs/dockerd.log" 2>&1 </dev/null &
    dockerd=$!
    local deadline=$((SECONDS + 120))
    until [[ -n $(engine_version) ]]; do
        if ! kill -0 "$dockerd" 2>/dev/null || ((SECONDS >= deadline)); then
            echo "dockerd does not answer; the end of its log:"
            tail -n 30 "$logs/dockerd.log"
            return 1
        fi
        sleep 0.2
    done
}

# end_engine: the one that start_engine started, if it did. It ends what runs in it first.
end_engine() {
    [[ -n $dockerd ]] || return 0
    kill -TERM "$dockerd" 2>/dev/null || true
    local deadline=$((SECONDS + 60))
    while kill -0 "$dockerd" 2>/dev/null && ((SECONDS < deadline)); do
        sleep 0.1
    done
    kill -KILL "$dockerd" 2>/dev/null || true
    wait "$dockerd" 2>/dev/null || true
    dockerd=
}

# has_engine: one answers, or one can be started; otherwise the reason is in $no_engine.
has_engine() {
    no_engine=
    if [[ -n $(engine_version) ]]; then
        return
    elif [[ -n ${DOCKER_HOST:-} ]]; then
        no_engine="no engine answers at $DOCKER_HOST"
    elif ! may_start_engine; then
        no_engine='no engine answers, and only root can start one'
    elif ! has dockerd; then
        no_engine='no engine answers, and dockerd is missing'
    fi
    [[ -z $no_engine ]]
}
