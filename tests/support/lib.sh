# What the acceptance scripts share. Sourced by each; wants BIN (the programs' folder), ROOT (the checkout) and an empty
# working folder that is thrown away afterwards. Nothing outside that folder and 127.0.0.1 is touched.
set -Eeuo pipefail

root=$ROOT
# shellcheck source=tests/support/tools.sh
source "$ROOT/tests/support/tools.sh"
# No test reaches the network: what npx and uvx start was put into their caches by tests/run. HOME holds the same as
# files, for servers that are started with a cleared environment.
export npm_config_offline=true UV_OFFLINE=1
printf 'cache=%s\noffline=true\nupdate-notifier=false\n' "$npm_config_cache" >"$HOME/.npmrc"
mkdir -p "$HOME/.config/uv"
printf 'cache-dir = "%s"\noffline = true\npython-downloads = "never"\n' "$UV_CACHE_DIR" >"$HOME/.config/uv/uv.toml"

export PATH="$BIN:$PATH"
# Scripts that want containers call docker_cluster.
export MCPD_RUNTIME=process
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@example.com GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@example.com
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=init.defaultBranch GIT_CONFIG_VALUE_0=main GIT_CONFIG_KEY_1=advice.detachedHead GIT_CONFIG_VALUE_1=false

here=$PWD
# A word that no other process has in its command line: fake servers carry it, so that they can be counted.
mark=mark-$$-$RANDOM$RANDOM
fake_server=$ROOT/tests/support/fake_server.py
started=()
docker_images=(
    "$MCPCTL_TEST_NODE_RUNNER_IMAGE" "$MCPCTL_TEST_PYTHON_RUNNER_IMAGE"
    "$MCPCTL_TEST_NODE_OFFLINE_IMAGE" "$MCPCTL_TEST_PYTHON_OFFLINE_IMAGE"
    "$MCPCTL_TEST_FIXTURE_IMAGE" "$MCPCTL_TEST_FIXTURE_BARE_IMAGE"
)
# Set by docker_cluster.
cluster=

# ---- saying what went wrong -----------------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }

fail() {
    printf 'FAILED %s\n' "$*" >&2
    trap - ERR
    exit 1
}

# needs COMMAND...: ends the script as "missing here" where one is not installed.
needs() {
    local word
    for word in "$@"; do
        if ! command -v "$word" >/dev/null 2>&1; then
            printf '%s is missing: run tests/run --tools\n' "$word" >&2
            exit 77
        fi
    done
}

# need_docker: the same where no engine answers, or where it lacks the tests' images.
need_docker() {
    local image
    if ! timeout 20 docker version >/dev/null 2>&1; then
        echo 'no Docker engine answers: see what tests/run says' >&2
        exit 77
    fi
    for image in "${docker_images[@]}"; do
        if ! docker image inspect "$image" >/dev/null 2>&1; then
            printf 'the image %s is missing: run tests/run --tools\n' "$image" >&2
            exit 77
        fi
    done
    if ! docker volume inspect "$runner_cache_volume" >/dev/null 2>&1; then
        printf 'the volume %s is missing: run tests/run --tools\n' "$runner_cache_volume" >&2
        exit 77
    fi
}

on_error() {
    local status=$1 line=$2 command=$3
    printf 'FAILED with status %s at %s:%s: %s\n' "$status" "${BASH_SOURCE[1]##*/}" "$line" "$command" >&2
}
trap 'on_error $? $LINENO "$BASH_COMMAND"' ERR

on_exit() {
    local status=$?
    trap - ERR EXIT
    local pid
    for pid in "${started[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${started[@]}"; do
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    if ((status != 0 && status != 77)); then
        local log
        for log in "$here"/*.log; do
            [[ -s $log ]] && printf -- '---- %s (end)\n' "${log##*/}" >&2 && tail -n 60 "$log" >&2
        done
    fi
    for pid in $(marked); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    [[ -z $cluster ]] || docker_clean
    exit "$status"
}
trap on_exit EXIT

# ---- assertions -----------------------------------------------------------------------------------------------------

assert_eq() {
    [[ $1 == "$2" ]] || fail "${3:-values differ}"$'\n  want: '"$2"$'\n  got:  '"$1"
}

assert_contains() {
    [[ $1 == *"$2"* ]] || fail "${3:-text is missing}: $2"$'\n  in: '"$1"
}

assert_lacks() {
    [[ $1 != *"$2"* ]] || fail "${3:-text should not be there}: $2"$'\n  in: '"$1"
}

# assert_line TEXT REGEX: one whole line of TEXT matches.
assert_line() {
    grep -Eqx -- "$2" <<<"$1" || fail "no line is: $2"$'\n  in: '"$1"
}

# run COMMAND...: its exit status in $status, its stdout in $out, its stderr in $err; never ends the script.
run() {
    status=0
    "$@" >"$here/.out" 2>"$here/.err" || status=$?
    out=$(<"$here/.out")
    err=$(<"$here/.err")
}

# expect STATUS COMMAND...: run, and the exit status is that.
expect() {
    local want=$1
    shift
    run "$@"
    [[ $status == "$want" ]] || fail "exit status $status instead of $want: $*"$'\n  stdout: '"$out"$'\n  stderr: '"$err"
}

# wait_for CONDITION...: until the command succeeds. The bound is there only to end a test that would hang.
wait_for() {
    local deadline=$((SECONDS + ${WAIT:-120}))
    until "$@" >"$here/.wait" 2>&1; do
        ((SECONDS < deadline)) || fail "never came true: $*"$'\n  last output: '"$(<"$here/.wait")"
        sleep 0.1
    done
}

# ---- processes ------------------------------------------------------------------------------------------------------

# The ids of the fake servers that carry our mark (not of a helper that was told to start one).
marked() { pgrep -f -- "^[^ ]*python3 .*$mark" || true; }

marked_is() { [[ $(marked | wc -l) == "$1" ]]; }

# The ids of everything that the process PID started, directly or not.
descendants() {
    ps -eo pid=,ppid= | awk -v root="$1" '
        { parent[$1] = $2 }
        END { for (pid in parent) { for (at = parent[pid]; at in parent && at != root; at = parent[at]) { }
              if (at == root && pid != root) print pid } }'
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# ---- Docker ---------------------------------------------------------------------------------------------------------

# docker_cluster: from here on start_mcpd means containers, of a cluster that no other script has. What carries its label
# is removed when the script ends. Packages come out of caches; nothing asks the network.
docker_cluster() {
    need_docker
    cluster=test-$$-$RANDOM$RANDOM
    export MCPD_CLUSTER=$cluster MCPD_RUNTIME=docker
    export MCPD_NODE_RUNNER_IMAGE=$MCPCTL_TEST_NODE_OFFLINE_IMAGE MCPD_PYTHON_RUNNER_IMAGE=$MCPCTL_TEST_PYTHON_OFFLINE_IMAGE
    MCPD_RUNNER_CACHE=$(docker volume inspect --format '{{.Mountpoint}}' "$runner_cache_volume")
    export MCPD_RUNNER_CACHE
}

# containers [OPTION...]: the ids of the cluster's, those that ended too.
containers() { docker ps --all --quiet --no-trunc --filter "label=mcpctl.io/cluster=$cluster" "$@"; }

docker_clean() {
    local label=label=mcpctl.io/cluster=$cluster
    docker ps --all --quiet --filter "$label" | xargs --no-run-if-empty docker rm --force --volumes >/dev/null 2>&1 || true
    docker network ls --quiet --filter "$label" | xargs --no-run-if-empty docker network rm >/dev/null 2>&1 || true
    docker volume ls --quiet --filter "$label" | xargs --no-run-if-empty docker volume rm >/dev/null 2>&1 || true
}

# ---- mcpd -----------------------------------------------------------------------------------------------------------

# start_mcpd [OPTION...]: mcpd on a free port with $data as its folder; sets mcpd, url, and what mcpctl reads.
start_mcpd() {
    data=${data:-$here/data}
    local log
    log=$here/mcpd.log
    local attempt
    for attempt in 1 2 3; do
        port=$(free_port)
        url=http://127.0.0.1:$port
        MCPD_LISTEN=127.0.0.1:$port MCPD_DATA_DIR=$data MCPD_LOG=${MCPD_LOG:-info} \
            mcpd "$@" >>"$log" 2>&1 </dev/null &
        mcpd=$!
        started+=("$mcpd")
        local deadline=$((SECONDS + 60))
        until curl -sf -o /dev/null "$url/readyz"; do
            ((SECONDS < deadline)) || fail 'mcpd is not ready after 60 s'
            kill -0 "$mcpd" 2>/dev/null || break
            sleep 0.05
        done
        # Somebody else may have taken the port between looking and listening.
        kill -0 "$mcpd" 2>/dev/null && break
        if ((attempt == 3)) || ! tail -n 5 "$log" | grep -qi 'in use'; then
            fail 'mcpd did not start'
        fi
    done
    token=$(<"$data/admin.token")
    export MCPCTL_URL=$url MCPCTL_TOKEN=$token
    remote=http://git:$token@127.0.0.1:$port/git/config.git
}

# stop_mcpd [SIGNAL]: exactly the one that start_mcpd started, and waits for its end.
stop_mcpd() {
    kill "-${1:-TERM}" "$mcpd"
    wait "$mcpd" 2>/dev/null || true
    local rest=() pid
    for pid in "${started[@]}"; do
        [[ $pid == "$mcpd" ]] || rest+=("$pid")
    done
    started=("${rest[@]}")
}

# api METHOD PATH [JSON]: the body on stdout, the status in $here/.code; fails where the answer is an error.
api() {
    local body=()
    [[ $# -lt 3 ]] || body=(-H 'Content-Type: application/json' --data-binary "$3")
    curl -sS -X "$1" -H "Authorization: Bearer $token" "${body[@]}" -o "$here/.body" -w '%{http_code}' \
        "$url/api/v1$2" >"$here/.code"
    cat "$here/.body"
    [[ $(<"$here/.code") == 2* ]]
}

converged() { mcpctl status --check; }

same() { mcpctl diff; }

# ---- git ------------------------------------------------------------------------------------------------------------

# clone FOLDER: the hosted repository, with the token in its URL.
clone() {
    git clone -q "$remote" "$1" 2>"$here/.clone" || fail "git clone: $(<"$here/.clone")"
}

# here_is FOLDER: after a restart on another port, the clone's remote follows.
repoint() { git -C "$1" remote set-url origin "$remote"; }

# commit FOLDER MESSAGE: everything that is there.
commit() {
    git -C "$1" add -A
    git -C "$1" commit -q -m "$2"
}

# push FOLDER [OPTION...]: its exit status in $status; what the server said, without git's prefix, in $said.
push() {
    local folder=$1
    shift
    status=0
    git -C "$folder" push "$@" origin HEAD:main >"$here/.push" 2>&1 || status=$?
    # shellcheck disable=SC2034 # the scripts read it
    said=$(sed -n 's/^remote: \{0,1\}//p' "$here/.push" | sed 's/[[:space:]]*$//' | sed '/^$/d')
}

# push_ok FOLDER [OPTION...]: a push that must be accepted.
push_ok() {
    push "$@"
    ((status == 0)) || fail "the push was refused: $(<"$here/.push")"
}

# The commit at the head of the hosted repository; "none" where it has no branch.
head_of_remote() {
    local head
    head=$(git ls-remote "$remote" refs/heads/main | cut -f1)
    printf '%s\n' "${head:-none}"
}

# The revision of the store.
revision() { api GET /status | jq -r .revision; }

# ---- declarations ---------------------------------------------------------------------------------------------------

# fake FILE NAME [OPTION...]: a server's file whose program is tests/support/fake_server.py with these options.
fake() {
    local file=$1 name=$2 word
    shift 2
    mkdir -p "$(dirname "$file")"
    {
        printf 'kind: server\nname: %s\ncommand:\n  - python3\n  - -IS\n  - "%s"\n  - "%s"\n' "$name" "$fake_server" "$mark"
        for word in "$@"; do
            printf '  - "%s"\n' "$word"
        done
    } >"$file"
}

# idle FILE NAME DESCRIPTION: a server without an instance, for tests that only look at declarations.
idle() {
    mkdir -p "$(dirname "$1")"
    printf 'kind: server\nname: %s\ndescription: %s\ncommand: ["true"]\nreplicas: 0\n' "$2" "$3" >"$1"
}

# ---- MCP ------------------------------------------------------------------------------------------------------------

# A session over plain HTTP: session_open PATH, then mcp METHOD PARAMS prints the answer's JSON.
no_params='{}'
session_open() {
    endpoint=$url$1
    session=
    id=0
    mcp initialize '{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"acceptance","version":"1"}}' \
        >"$here/.initialize"
    session=$(sed -n 's/^[Mm][Cc][Pp]-[Ss]ession-[Ii]d: *\([^[:space:]]*\).*/\1/p' "$here/.headers")
    curl -sS -o /dev/null -X POST -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
        -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2025-11-25' \
        ${session:+-H "Mcp-Session-Id: $session"} \
        --data-binary '{"jsonrpc":"2.0","method":"notifications/initialized"}' "$endpoint"
}

mcp() {
    local params=${2:-}
    id=$((id + 1))
    curl -sS -D "$here/.headers" -o "$here/.answer" -X POST -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
        ${session:+-H "Mcp-Session-Id: $session" -H 'MCP-Protocol-Version: 2025-11-25'} \
        --data-binary "{\"jsonrpc\":\"2.0\",\"id\":$id,\"method\":\"$1\",\"params\":${params:-$no_params}}" "$endpoint"
    # JSON, or the last event of a stream.
    if grep -qi '^content-type: *text/event-stream' "$here/.headers"; then
        sed -n 's/^data: \{0,1\}//p' "$here/.answer" | jq -c --argjson id "$id" 'select(.id == $id)'
    else
        cat "$here/.answer"
    fi
}

# call_text TOOL ARGUMENTS: the text of a tool's answer.
call_text() {
    mcp tools/call "{\"name\":\"$1\",\"arguments\":$2}" | jq -r '.result.content[0].text // .error.message'
}

# proof NAME FIGURES: writes the figures of a long test, an object, to docs/proof with what they are of.
proof() {
    mkdir -p "$ROOT/docs/proof"
    jq --arg name "$1" --arg commit "$(git -C "$ROOT" rev-parse HEAD)" --argjson seconds "$SECONDS" \
        '. + {$name, $commit, $seconds}' <<<"$2" >"$ROOT/docs/proof/$1.json"
}
