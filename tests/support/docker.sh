# A Docker engine for the tests. Sourced by tests/run, which wants `tools`, `logs`, `has` and a list of what to install.
#
# The engine that DOCKER_HOST or the local socket leads to is used as it is. Where none answers, root has one started, and
# exactly that process is ended with tests/run. Otherwise the tests that need one are skipped; under CI that is a failure.

# shellcheck disable=SC2154
# Whatever context a developer has chosen: mcpd knows none.
export DOCKER_CONTEXT=default
dockerd=

engine_answers() { has docker && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Only where the local socket is meant: an engine elsewhere is somebody's to start.
may_start_engine() { [[ $(id -u) == 0 && -z ${DOCKER_HOST:-} ]]; }

# Debian's names of what an engine needs. Its client is a package of its own since Debian 13.
docker_packages() {
    local missing=()
    if ! engine_answers && may_start_engine; then
        has dockerd || missing+=(docker.io)
        has iptables || missing+=(iptables)
    fi
    if ! has docker && may_start_engine && apt-cache show docker-cli >/dev/null 2>&1; then
        missing+=(docker-cli)
    fi
    # What the base images are made of.
    if engine_answers || may_start_engine; then
        has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || missing+=(busybox-static)
    fi
    printf '%s\n' "${missing[@]}"
}

# start_engine [OPTION...]: waits until it answers; its log is $logs/dockerd.log.
start_engine() {
    # A machine without an init has no hierarchy of control groups.
    grep -q ' /sys/fs/cgroup' /proc/mounts || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # In a session of its own, so that Ctrl-C reaches the tests first and they can remove their containers.
    setsid dockerd "$@" >"$logs/dockerd.log" 2>&1 </dev/null &
    dockerd=$!
    local deadline=$((SECONDS + 120))
    until engine_answers; do
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

# engine: 0 when one answers, started or found; 1 when there is none to be had, with the reason in $no_engine.
engine() {
    no_engine=
    if engine_answers; then
        return 0
    elif [[ -n ${DOCKER_HOST:-} ]]; then
        no_engine="no engine answers at $DOCKER_HOST"
    elif ! may_start_engine; then
        no_engine='no engine answers, and only root can start one'
    elif ! has dockerd; then
        no_engine='no engine answers, and dockerd is missing'
    else
        return 0
    fi
    return 1
}
