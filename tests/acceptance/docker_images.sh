#!/usr/bin/env bash
# The runner images start what mcpd starts in them: real packages out of a cache without a network, hardened as containers
# of servers are, as root and as a user that the image does not know. The fixture's images do what tests expect of them.
source "$ROOT/tests/support/lib.sh"
needs jq
need_docker

hello='{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"acceptance","version":"1"}}}'
called=$(jq -cn '{jsonrpc: "2.0", id: 2, method: "tools/call", params: {name: "whoami", arguments: {}}}')
hardened=(docker run --rm --interactive --init --network none --cap-drop ALL --security-opt no-new-privileges
    --pids-limit 512 --volume "$runner_cache_volume:/cache")

# answers COUNT COMMAND...: what a stdio server says to our two requests, until COUNT answers are there; then its stdin ends.
answers() {
    local count=$1 line seen=0
    shift
    coproc SERVER { exec timeout 120 "$@" 2>"$here/server.log"; }
    local pid=$SERVER_PID to=${SERVER[1]}
    printf '%s\n' "$hello" >&"$to"
    while ((seen < count)) && IFS= read -r line <&"${SERVER[0]}"; do
        printf '%s\n' "$line"
        seen=$((seen + 1))
        ((seen == count)) || printf '%s\n' "$called" >&"$to"
    done
    exec {to}>&-
    wait "$pid" || true
    ((seen == count)) || fail "$* gave $seen answers: $(tail -n 20 "$here/server.log")"
}

name_of() { jq -r 'select(.id == 1).result.serverInfo.name'; }

# What a server leaves in the cache as one user must not be in the way of the next.
for user in 0:0 1000:1000 0:0; do
    said=$(answers 1 "${hardened[@]}" --user "$user" --env npm_config_offline=true "$MCPCTL_TEST_NODE_RUNNER_IMAGE" \
        npx -y "$everything_package")
    assert_eq "$(name_of <<<"$said")" mcp-servers/everything "the node runner as $user"
    said=$(answers 1 "${hardened[@]}" --user "$user" --env UV_OFFLINE=1 "$MCPCTL_TEST_PYTHON_RUNNER_IMAGE" \
        uvx "$time_package")
    assert_eq "$(name_of <<<"$said")" mcp-time "the python runner as $user"
done

# Anyone may write where programs do, also without a cache of the host.
for image in "$MCPCTL_TEST_NODE_RUNNER_IMAGE" "$MCPCTL_TEST_PYTHON_RUNNER_IMAGE"; do
    for user in 0:0 1000:1000; do
        docker run --rm --network none --cap-drop ALL --security-opt no-new-privileges --user "$user" "$image" \
            sh -euc 'cd "$HOME"; touch x; for folder in /cache /cache/*; do touch "$folder/x"; done'
    done
    entry=$(docker image inspect --format '{{json .Config.Entrypoint}}' "$image")
    [[ $entry == null || $entry == '[]' ]] || fail "$image has an entry point: $entry"
    for label in title description licenses; do
        [[ -n $(docker image inspect --format "{{index .Config.Labels \"org.opencontainers.image.$label\"}}" "$image") ]] ||
            fail "$image has no label for its $label"
    done
done

# Nobody's Python but the image's own, and its TLS and archives work.
docker run --rm --network none "$MCPCTL_TEST_PYTHON_RUNNER_IMAGE" \
    python3 -c 'import bz2, ctypes, ensurepip, lzma, sqlite3, ssl, venv, zlib; ssl.create_default_context()'
docker run --rm --network none "$MCPCTL_TEST_PYTHON_RUNNER_IMAGE" uv python find >/dev/null
major=$(docker run --rm --network none "$MCPCTL_TEST_NODE_RUNNER_IMAGE" node -p process.versions.node)
assert_line "$major" '24[.].*'

# The fixture: by itself where the image says what to start, by a command where it does not.
said=$(answers 2 "${hardened[@]}" --user 1000:1000 "$MCPCTL_TEST_FIXTURE_IMAGE")
seen=$(jq -r 'select(.id == 2).result.content[0].text' <<<"$said")
assert_eq "$(jq -c '[.uid, .gid, .capabilities.effective, .noNewPrivileges]' <<<"$seen")" \
    '[1000,1000,"0000000000000000",true]'
said=$(answers 1 "${hardened[@]}" "$MCPCTL_TEST_FIXTURE_BARE_IMAGE" /fixture_server)
assert_eq "$(name_of <<<"$said")" fixture
assert_eq "$(docker image inspect --format '{{json .Config.Entrypoint}} {{json .Config.Cmd}}' \
    "$MCPCTL_TEST_FIXTURE_BARE_IMAGE")" 'null null' 'the bare image says what to start'
