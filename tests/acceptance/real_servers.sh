#!/usr/bin/env bash
# Seven real servers, from npm and PyPI, of both eras, in one project: all their tools are listed, and each answers a call.
source "$ROOT/tests/support/lib.sh"
needs git curl jq npx uvx python3

mkdir files page
echo 'a line in a file' >files/note.txt
# No HTML: what that is made readable with is fetched from npm.
echo 'A page that was fetched from this machine' >page/page.txt
echo 'User-agent: *' >page/robots.txt
# Prints its port by itself, once it listens.
python3 -u -m http.server --bind 127.0.0.1 --directory page 0 >"$here/page.out" 2>"$here/page.log" &
started+=("$!")
page_port() { page=$(sed -n 's/.*port \([0-9]*\) .*/\1/p' "$here/page.out") && [[ -n $page ]]; }
wait_for page_port

start_mcpd
clone work
mkdir -p work/servers work/projects
cp "$ROOT/examples/repo/servers/everything.yaml" "$ROOT/examples/repo/servers/time.yaml" work/servers/
# server NAME LINE...: a server's file.
server() { printf 'kind: server\nname: %s\n' "$1" >"work/servers/$1.yaml" && printf '%s\n' "${@:2}" >>"work/servers/$1.yaml"; }
for package in "${real_npm_packages[@]}"; do
    name=${package##*/server-}
    server "${name%@*}" "packageName: \"$package\""
done
echo "args: [\"$here/files\"]" >>work/servers/filesystem.yaml
printf 'env:\n  - {name: MEMORY_FILE_PATH, value: "%s/memory.jsonl"}\n' "$here" >>work/servers/memory.yaml
for package in "${real_python_packages[@]}"; do
    name=${package#mcp-server-}
    server "${name%%==*}" "packageName: $package" 'runtime: python'
done
echo 'args: ["--allow-private-ips"]' >>work/servers/fetch.yaml
servers=(everything fetch filesystem git memory sequential-thinking time)
printf 'kind: project\nname: real\nservers: [%s]\n' "$(IFS=,; echo "${servers[*]}")" >work/projects/real.yaml
commit work 'Seven servers'
push_ok work -o wait=300
assert_eq "$(grep -o 'RUNNING server' <<<"$said" | wc -l)" 7 "$said"

say '-- every tool is listed, under the name of its server'
session_open /projects/real/mcp
cursor=''
tools=''
while
    answer=$(mcp tools/list "$(jq -nc --arg cursor "$cursor" 'if $cursor == "" then {} else {$cursor} end')")
    tools+=$(jq -r '.result.tools[].name' <<<"$answer")$'\n'
    cursor=$(jq -r '.result.nextCursor // ""' <<<"$answer")
    [[ -n $cursor ]]
do :; done
# Asked itself, a server says the same.
for name in "${servers[@]}"; do
    session_open "/projects/real/servers/$name/mcp"
    own=$(mcp tools/list | jq -r '.result.tools[].name' | LC_ALL=C sort)
    [[ -n $own ]] || fail "$name lists nothing"
    assert_eq "$(sed -n "s/^${name}__//p" <<<"$tools" | LC_ALL=C sort)" "$own" "the tools of $name"
done

say '-- each answers a call'
session_open /projects/real/mcp
assert_contains "$(call_text everything__echo '{"message":"to all"}')" 'to all'
assert_contains "$(call_text filesystem__read_text_file "{\"path\":\"$here/files/note.txt\"}")" 'a line in a file'
assert_contains "$(call_text filesystem__read_text_file '{"path":"/etc/hostname"}')" 'outside allowed directories'
call_text memory__create_entities '{"entities":[{"name":"Ada","entityType":"person","observations":["writes engines"]}]}' >created.txt
assert_contains "$(call_text memory__read_graph '{}')" 'writes engines'
assert_contains "$(call_text sequential-thinking__sequentialthinking \
    '{"thought":"One step","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}')" '"thoughtNumber": 1'
assert_contains "$(call_text time__convert_time '{"source_timezone":"Etc/UTC","time":"12:00","target_timezone":"Asia/Tokyo"}')" 21:00
assert_contains "$(call_text git__git_log "{\"repo_path\":\"$here/work\",\"max_count\":1}")" 'Seven servers'
assert_contains "$(call_text fetch__fetch "{\"url\":\"http://127.0.0.1:$page/page.txt\"}")" 'fetched from this machine'
