#!/usr/bin/env bash
# `mcpctl dev`: saving a file shows its plan and the servers follow; a missing tool is one line and the rest runs.
source "$ROOT/tests/support/lib.sh"
needs git curl jq pgrep

# The example repository, its npm server replaced by a cheap one; the PyPI one stays, and there is no uvx.
cp -R "$ROOT/examples/repo" repo
fake repo/servers/everything.yaml everything
mkdir tools
for tool in bash sh env git python3 cat sleep; do
    ln -s "$(command -v "$tool")" "tools/$tool"
done
mcpctl_path=$BIN/mcpctl
bare_path=$here/tools
[[ ! -e $bare_path/uvx ]]

# start_dev: sets dev (its process), url and token; everything that it says goes to dev.log.
start_dev() {
    port=$(free_port)
    url=http://127.0.0.1:$port
    : >dev.log
    env PATH="$bare_path" "$mcpctl_path" dev "$here/repo" --listen "127.0.0.1:$port" >>dev.log 2>&1 </dev/null &
    dev=$!
    started+=("$dev")
    wait_for curl -sf -o /dev/null "$url/readyz"
    token=$(<repo/.mcpctl/local/admin.token)
}

said() { grep -Eq -- "$1" dev.log; }
# The log from its current end on: since, then said_since REGEX.
since() { from=$(($(wc -c <dev.log) + 1)); }
said_since() { tail -c "+$from" dev.log | grep -Eq -- "$1"; }

start_dev

# It is told what is missing, once and with the remedy; the other server runs.
wait_for said '\buvx\b'
assert_eq "$(grep -cw uvx dev.log)" 1 'the missing tool is not told in exactly one line'
line=$(grep -w uvx dev.log)
assert_contains "$line" time 'the line does not name the server'
assert_contains "${line,,}" install 'the line does not say the remedy'
state_is() { curl -sf -H "Authorization: Bearer $token" "$url/api/v1/instances" | jq -e --arg name "$1" --arg state "$2" '.items[] | select(.instance == $name) | .state == $state'; }
wait_for state_is everything/0 RUNNING
wait_for said 'RUNNING server/everything'

# The printed address and the snippet work as they stand.
mcp_url=$(grep -oE "http://127\.0\.0\.1:$port/projects/demo/mcp" dev.log | head -n 1)
assert_eq "$mcp_url" "$url/projects/demo/mcp" 'the address of the project is not printed'
assert_contains "$(<dev.log)" "Bearer $token" 'the snippet does not have the token'
session_open /projects/demo/mcp
assert_eq "$(call_text everything__echo '{"message":"from dev"}')" 'from dev'

# Inside the folder mcpctl finds the daemon by itself; its data is not in the way of git.
unset MCPCTL_URL MCPCTL_TOKEN
names=$(cd repo && mcpctl get server -o name)
assert_eq "$names" $'server/everything\nserver/time'
git -C repo init -q
assert_lacks "$(git -C repo status --porcelain --untracked-files=all)" .mcpctl/local

# Saving a file shows the plan, and the server follows.
old=$(marked)
since
fake repo/servers/everything.yaml everything
printf 'env:\n  - name: COLOUR\n    value: green\n' >>repo/servers/everything.yaml
wait_for said_since '~ server/everything.*env'
colour() { [[ $(call_text everything__env '{"name":"COLOUR"}') == green ]]; }
wait_for colour
wait_for marked_is 1
[[ $(marked) != "$old" ]] || fail 'the process is the same'

# A new file, written the way editors do it: beside the place, then renamed.
since
fake .second.yaml second
mv .second.yaml repo/servers/second.yaml
wait_for said_since '\+ server/second'
wait_for marked_is 2

# A broken file is an error at its place; nothing stops, and the fix is taken.
pids=$(marked)
since
printf 'kind: server\nname: second\ncommand: ["true"]\nreplica: 0\n' >repo/servers/second.yaml
wait_for said_since 'error: servers/second\.yaml:4:1: '
wait_for said_since 'hint: .*replicas'
wait_for state_is second/0 RUNNING
assert_eq "$(marked)" "$pids" 'a file that cannot be read stopped or replaced a server'
assert_eq "$(cd repo && mcpctl get server -o name | wc -l)" 3
expect 3 env -C repo mcpctl status --check
since
fake repo/servers/second.yaml second
printf 'description: mended\n' >>repo/servers/second.yaml
wait_for said_since '~ server/second'
assert_eq "$(marked)" "$pids" 'words replaced a server'

# A change through mcpctl is written into the file, and the neighbours' lines stay.
sed 's/^description: mended$/description: by hand/' repo/servers/second.yaml >want.yaml
expect 0 env -C repo mcpctl patch server second 'description=by hand'
wait_for cmp -s want.yaml repo/servers/second.yaml

# A file that goes takes its server along.
since
rm repo/servers/second.yaml
wait_for said_since '- server/second'
wait_for marked_is 1

# Ctrl-C ends everything.
kill -INT "$dev"
wait_for gone "$dev"
wait_for marked_is 0

# It starts again on what it left.
start_dev
wait_for state_is everything/0 RUNNING
kill -TERM "$dev"
wait_for gone "$dev"
wait_for marked_is 0
