#!/usr/bin/env bash
# Every kind of bad push is refused at its place, with caret and hint, and changes nothing.
source "$ROOT/tests/support/lib.sh"
needs git curl jq

start_mcpd
clone work
idle work/servers/one.yaml one first
idle work/servers/two.yaml two second
mkdir work/projects
printf 'kind: project\nname: demo\nservers: [one, two]\n' >work/projects/demo.yaml
commit work 'A good state'
push_ok work
wait_for same
before=$(mcpctl get all -o yaml)
revision=$(revision)
head=$(head_of_remote)

# bad NAME FILE PLACE MESSAGE-PART HINT-PART (a - where none is wanted): FILE's new text is on stdin.
bad() {
    local name=$1 file=$2 place=$3 message=$4 hint=$5
    mkdir -p "work/$(dirname "$file")"
    cat >"work/$file"
    commit work "$name"
    push work
    ((status != 0)) || fail "$name: the push was accepted"
    local first
    first=$(grep -n -m1 '^error: ' <<<"$said" | cut -d: -f1)
    [[ -n $first ]] || fail "$name: no error line in: $said"
    local line excerpt caret
    line=$(sed -n "${first}p" <<<"$said")
    excerpt=$(sed -n "$((first + 1))p" <<<"$said")
    caret=$(sed -n "$((first + 2))p" <<<"$said")
    [[ $line == "error: $file:$place: "* ]] || fail "$name: not at $file:$place: $line"
    assert_contains "${line,,}" "${message,,}" "$name"
    # The line itself, and a caret below its column.
    assert_eq "$excerpt" "  $(sed -n "${place%%:*}p" "work/$file" | sed 's/[[:space:]]*$//')" "$name: the line"
    local column=${place##*:}
    [[ $caret =~ ^\ {$((column + 1))}\^+$ ]] || fail "$name: the caret is not below column $column: '$caret'"
    if [[ $hint != - ]]; then
        assert_contains "$(grep '^hint: ' <<<"$said" || true)" "$hint" "$name"
    fi
    assert_eq "$(tail -n 1 <<<"$said")" 'refused: 1 error in 1 file; nothing was changed' "$name"
    assert_contains "$(<"$here/.push")" '[remote rejected]' "$name"
    unchanged "$name"
    git -C work reset -q --hard "$head"
    git -C work clean -qfd
}

unchanged() {
    assert_eq "$(head_of_remote)" "$head" "$1: the ref moved"
    assert_eq "$(mcpctl get all -o yaml)" "$before" "$1: a resource changed"
    assert_eq "$(revision)" "$revision" "$1: the revision moved"
}

bad 'an unknown field' servers/two.yaml 4:1 'unknown field' replicas <<'TEXT'
kind: server
name: two
command: ["true"]
replica: 0
TEXT
bad 'a nested unknown field' servers/two.yaml 7:5 'unknown field' value <<'TEXT'
kind: server
name: two
command: ["true"]
replicas: 0
env:
  - name: A
    valeu: b
TEXT
bad 'an unknown kind' servers/three.yaml 1:7 'unknown kind' server <<'TEXT'
kind: sever
name: three
command: ["true"]
TEXT
bad 'an unknown reference' projects/demo.yaml 5:5 tow two <<'TEXT'
kind: project
name: demo
servers:
  - one
  - tow
TEXT
bad 'a wrong type' servers/two.yaml 4:11 '' - <<'TEXT'
kind: server
name: two
command: ["true"]
replicas: many
TEXT
bad 'a value out of range' servers/two.yaml 4:11 10 - <<'TEXT'
kind: server
name: two
command: ["true"]
replicas: 11
TEXT
bad 'an unknown word' servers/two.yaml 4:9 "" - <<'TEXT'
kind: server
name: two
command: ["true"]
update: bluegreen
TEXT
bad 'a bad name' servers/three.yaml 2:7 '' - <<'TEXT'
kind: server
name: Three_3
command: ["true"]
TEXT
bad 'a duplicate in two files' servers/zwei.yaml 2:7 two - <<'TEXT'
kind: server
name: two
command: ["true"]
TEXT
# Columns count characters, not bytes.
bad 'characters before the place' servers/two.yaml 1:59 'unknown field' - <<'TEXT'
{kind: server, name: two, description: "größer → besser", colour: 1, command: ["true"], replicas: 0}
TEXT

# A text that does not parse: where a parser notices is its own affair, but file and line are named.
printf 'kind: server\nname: two\ndescription: "never closed\nreplicas: 0\n' >work/servers/two.yaml
commit work 'A syntax error'
push work
((status != 0)) || fail 'a syntax error was accepted'
assert_line "$said" 'error: servers/two\.yaml:[0-9]+:[0-9]+: .+'
assert_line "$said" '  +\^+'
assert_eq "$(tail -n 1 <<<"$said")" 'refused: 1 error in 1 file; nothing was changed'
unchanged 'a syntax error'
git -C work reset -q --hard "$head"

# A duplicate names the other place.
idle work/servers/zwei.yaml two again
commit work 'A duplicate'
push work
((status != 0)) || fail 'a duplicate was accepted'
assert_line "$said" 'note: servers/two\.yaml:2:7: .+'
unchanged 'a duplicate'
git -C work reset -q --hard "$head"

# Removing what a project needs leaves its reference without a target.
git -C work rm -q servers/two.yaml
commit work 'Removes what the project needs'
push work
((status != 0)) || fail 'the push broke a reference and was accepted'
assert_line "$said" 'error: projects/demo\.yaml:3:16: .*two.*'
unchanged 'a broken reference'
git -C work reset -q --hard "$head"

# Two errors in two files are both told, and the last line counts them.
printf 'kind: server\nname: one\ncommand: ["true"]\nreplicas: 99\n' >work/servers/one.yaml
printf 'kind: server\nname: two\ncommand: ["true"]\nreplica: 0\n' >work/servers/two.yaml
commit work 'Two errors'
push work
((status != 0)) || fail 'two errors were accepted'
assert_line "$said" 'error: servers/one\.yaml:4:11: .+'
assert_line "$said" 'error: servers/two\.yaml:4:1: .+'
assert_eq "$(tail -n 1 <<<"$said")" 'refused: 2 errors in 2 files; nothing was changed'
unchanged 'two errors'
git -C work reset -q --hard "$head"

# A symbolic link is not followed.
ln -s /etc/passwd work/servers/link.yaml
commit work 'A link'
push work
((status != 0)) || fail 'a symbolic link was accepted'
assert_contains "$said" 'error: servers/link.yaml'
unchanged 'a symbolic link'
git -C work reset -q --hard "$head"

# After all that, a good push goes through.
idle work/servers/two.yaml two changed
commit work 'A good change'
push_ok work
assert_line "$said" '  ~ server/two +description.*'
