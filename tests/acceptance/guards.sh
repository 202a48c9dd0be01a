#!/usr/bin/env bash
# What must never happen by accident, through a push and through a watched folder: each guard with its exact answer, and
# that nothing was changed.
source "$ROOT/tests/support/lib.sh"
needs git curl jq python3

names=(one two three four five six)

# good FOLDER: the state that every case starts from.
good() {
    local name
    for name in "${names[@]}"; do
        idle "$1/servers/$name.yaml" "$name" first
    done
}

start_mcpd
clone work
good work
commit work 'A good state'
push_ok work
wait_for same
before=$(mcpctl get all -o yaml)
revision=$(revision)
head=$(head_of_remote)

unchanged() {
    assert_eq "$(head_of_remote)" "$head" "$1: the ref moved"
    assert_eq "$(mcpctl get all -o yaml)" "$before" "$1: a resource changed"
    assert_eq "$(revision)" "$revision" "$1: the revision moved"
}

reset() {
    git -C work reset -q --hard "$head"
    git -C work clean -qfd
}

# refused NAME [OPTION...]: the push is refused, and what mcpd says is what stands on stdin; nothing was changed.
refused() {
    local name=$1
    shift
    push work "$@"
    ((status != 0)) || fail "$name: the push was accepted"
    assert_eq "$said" "$(cat)" "$name"
    assert_contains "$(<"$here/.push")" '[remote rejected]' "$name"
    unchanged "$name"
    reset
}

# committed NAME: what lies in the clone is committed, and its push is refused.
committed() {
    commit work "$1"
    refused "$1"
}

# by_git NAME WORDS: git itself refuses the objects, before mcpd is asked.
by_git() {
    push work
    ((status != 0)) || fail "$1: the push was accepted"
    assert_contains "$(<"$here/.push")" "$2" "$1"
    assert_lacks "$said" 'plan ' "$1: mcpd was asked"
    unchanged "$1"
    reset
}

# ---- much at once ---------------------------------------------------------------------------------------------------

git -C work rm -q servers/one.yaml servers/two.yaml servers/three.yaml servers/four.yaml
committed 'a mass deletion' <<'TEXT'
error: this would delete 4 of 6 resources
hint: if this is meant: git push -o allow-mass-delete
refused: nothing was changed
TEXT

git -C work rm -q -r .
committed 'an empty tree' <<'TEXT'
error: this would delete 6 of 6 resources
hint: if this is meant: git push -o allow-mass-delete
refused: nothing was changed
TEXT

git -C work push -q origin :main >"$here/.push" 2>&1 && fail 'main could be deleted'
assert_contains "$(<"$here/.push")" 'error: the branch main can' 'the deletion of main'
unchanged 'the deletion of main'

# ---- what is no plain file ------------------------------------------------------------------------------------------

ln -s ../../../../etc/passwd work/servers/link.yaml
committed 'a link out of the repository' <<'TEXT'
error: servers/link.yaml: symbolic links are not followed
hint: put the file or folder itself into the repository
refused: 1 error in 1 file; nothing was changed
TEXT

for target in /etc servers nowhere ../../etc/passwd; do
    ln -s "$target" work/link
    committed "a link to $target" <<'TEXT'
error: link: symbolic links are not followed
hint: put the file or folder itself into the repository
refused: 1 error in 1 file; nothing was changed
TEXT
done

git -C work update-index --add --cacheinfo "160000,$head,servers/module"
git -C work commit -q -m 'A submodule'
refused 'a submodule' <<'TEXT'
error: servers/module: submodules are not read
hint: put the files themselves into the repository
refused: 1 error in 1 file; nothing was changed
TEXT

# ---- names that lead elsewhere --------------------------------------------------------------------------------------

# tree NAME: the head's tree with one more file of that name (as Python writes it), committed. git's own programs would
# not make some of them, so it is written as bytes.
blob=$(printf 'kind: server\nname: evil\ncommand: ["true"]\nreplicas: 0\n' | git -C work hash-object -w --stdin)
tree() {
    local tree
    tree=$(git -C work cat-file tree "$head^{tree}" | python3 -c '
import ast, sys
name, blob, old = ast.literal_eval(f"b\"{sys.argv[1]}\""), bytes.fromhex(sys.argv[2]), sys.stdin.buffer.read()
entries = [(b"100644", name, blob)]
while old:
    head, rest = old.split(b"\0", 1)
    mode, _, called = head.partition(b" ")
    entries.append((mode, called, rest[:20]))
    old = rest[20:]
entries.sort(key=lambda it: it[1] + (b"/" if it[0] == b"40000" else b""))
sys.stdout.buffer.write(b"".join(mode + b" " + called + b"\0" + oid for mode, called, oid in entries))
' "$1" "$blob" | git -C work hash-object -t tree -w --literally --stdin)
    git -C work update-ref refs/heads/main "$(git -C work commit-tree -p "$head" -m 'A name' "$tree")"
}

while read -r name words; do
    tree "$name"
    by_git "the name $name" "$words"
done <<'TEXT'
. hasDot: contains '.'
.. hasDotdot: contains '..'
.git hasDotgit: contains '.git'
.GIT hasDotgit: contains '.git'
.gi\xe2\x80\x8ct hasDotgit: contains '.git'
git~1 hasDotgit: contains '.git'
../x.yaml fullPathname: contains full pathnames
/etc/x.yaml fullPathname: contains full pathnames
x/y.yaml fullPathname: contains full pathnames
TEXT
tree ''
by_git 'an empty name' 'empty filename in tree entry'

while read -r name shown words; do
    tree "$name"
    refused "the name $name" <<TEXT
error: $shown: the name $words
hint: rename the file: letters, digits, - and _ are safe
refused: 1 error in 1 file; nothing was changed
TEXT
done <<'TEXT'
x\\..\\..\\y.yaml x\..\..\y.yaml holds a backslash
C:\\x.yaml C:\x.yaml holds a backslash
x\x01.yaml x\u{1}.yaml is not clean UTF-8
x\n.yaml x\n.yaml is not clean UTF-8
x\xff.yaml x�.yaml is not clean UTF-8
TEXT

# Nor can a resource's name lead an export elsewhere: it never gets one.
for name in ../x .. /etc/x 'a/../../x' '..%2Fx' 'x\y' 'x\u0000'; do
    run api POST /servers "{\"kind\":\"server\",\"name\":\"$name\",\"command\":[\"x\"]}"
    assert_eq "$(<.code)" 400 "the name $name"
done
run api POST /prompts '{"kind":"prompt","project":"../..","name":"x","content":"x"}'
assert_eq "$(<.code)" 400 'a scope that leads elsewhere'
unchanged 'names that lead elsewhere'

# ---- texts ----------------------------------------------------------------------------------------------------------

# text NAME: servers/two.yaml becomes what printf makes of the other arguments; stdin is the answer.
text() {
    local name=$1
    shift
    # shellcheck disable=SC2059 # escapes are the point
    printf "$@" >work/servers/two.yaml
    committed "$name"
}
server='kind: server\nname: two\ncommand: ["true"]\nreplicas: 0\n'

text 'invalid UTF-8' "${server}description: \xc3\x28\n" <<'TEXT'
error: servers/two.yaml:5:14: not UTF-8: byte 0xc3
hint: save the file as UTF-8
refused: 1 error in 1 file; nothing was changed
TEXT

text 'UTF-16 with its byte order mark' '\xff\xfek\0i\0n\0d\0' <<'TEXT'
error: servers/two.yaml:1:1: not UTF-8: byte 0xff
hint: save the file as UTF-8
refused: 1 error in 1 file; nothing was changed
TEXT

text 'a NUL' "${server}description: a\0\n" <<'TEXT'
error: servers/two.yaml:5:15: control character U+0000
  description: a
                ^
hint: in a quoted text write it as an escape
refused: 1 error in 1 file; nothing was changed
TEXT

text 'a tab' 'kind: server\nname: two\ncommand:\n\t- "true"\n' <<'TEXT'
error: servers/two.yaml:4:1: a tab can't be used for indentation
   - "true"
  ^
hint: use spaces
refused: 1 error in 1 file; nothing was changed
TEXT

text 'merge markers' '<<<<<<< HEAD\n%b=======\n%b>>>>>>> theirs\n' "$server" "$server" <<'TEXT'
error: servers/two.yaml:1:1: merge marker
  <<<<<<< HEAD
  ^^^^^^^
hint: resolve the merge and remove the markers
refused: 1 error in 1 file; nothing was changed
TEXT

text 'a merge marker within' "${server}description: |\n  x\n=======\n  y\n" <<'TEXT'
error: servers/two.yaml:7:1: merge marker
  =======
  ^^^^^^^
hint: resolve the merge and remove the markers
refused: 1 error in 1 file; nothing was changed
TEXT

bomb='a: &a [x, x, x, x, x, x, x, x, x]\n'
last=a
for next in b c d e f g h i; do
    bomb+="$next: &$next [*$last, *$last, *$last, *$last, *$last, *$last, *$last, *$last, *$last]\n"
    last=$next
done
text 'an alias bomb' "$bomb$server" <<'TEXT'
error: servers/two.yaml:5:36: aliases make this document too large
  e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]
                                     ^^
hint: write the values out: aliases may add 1 MiB to a document
refused: 1 error in 1 file; nothing was changed
TEXT

text 'an alias to itself' "${server}env: &a [*a]\n" <<'TEXT'
error: servers/two.yaml:5:10: unknown alias: no anchor of this name goes before it in the document
  env: &a [*a]
           ^^
hint: a text that begins with * needs quotes
refused: 1 error in 1 file; nothing was changed
TEXT

brackets=$(printf '[%.0s' {1..70})$(printf ']%.0s' {1..70})
text 'nesting' "${server}args: $brackets\n" <<TEXT
error: servers/two.yaml:5:70: nested too deeply
  args: $brackets
  $(printf ' %.0s' {1..69})^
hint: 64 lists and mappings within each other at most
refused: 1 error in 1 file; nothing was changed
TEXT

# ---- sizes ----------------------------------------------------------------------------------------------------------

{
    # shellcheck disable=SC2059
    printf "$server"
    printf '# %01100000d\n' 0
} >work/servers/two.yaml
committed 'a large file' <<'TEXT'
error: servers/two.yaml: the file is over 1 MiB
hint: split it, one resource a file
refused: 1 error in 1 file; nothing was changed
TEXT

deep=work/$(printf 'd/%.0s' {1..70})
mkdir -p "$deep"
cp work/servers/one.yaml "$deep/deep.yaml"
commit work 'Deep folders'
shown=$(printf 'd/%.0s' {1..65})
refused 'deep folders' <<TEXT
error: ${shown%/}: folders are nested over 64 deep
hint: move the files up
refused: 1 error in 1 file; nothing was changed
TEXT

# Many commits at once, made by fast-import.
for n in $(seq 10001); do
    printf 'commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n' "$n"
    ((n > 1)) || printf 'from %s\n' "$head"
done | git -C work fast-import --quiet --force
refused 'many commits' <<'TEXT'
error: the repository can't be used: the push brings more than 10000 commits: push them in parts
refused: nothing was changed
TEXT

head -c 140000000 /dev/urandom >work/noise
git -C work config core.compression 0
commit work 'A large push'
by_git 'a large push' 'pack exceeds maximum allowed size'
git -C work config --unset core.compression

# ---- what looks odd and is meant ------------------------------------------------------------------------------------

# A byte order mark is passed over, and stays where it is when mcpd writes into the file.
# shellcheck disable=SC2059
printf "\xef\xbb\xbf$server" >work/servers/two.yaml
commit work 'A byte order mark'
push_ok work
assert_line "$said" '  ~ server/two +description .*'
expect 0 mcpctl patch server two 'description=second'
wait_for same
git -C work pull -q --rebase
printf '\xef\xbb\xbfkind: server\nname: two\ndescription: second\ncommand: ["true"]\nreplicas: 0\n' | cmp - work/servers/two.yaml
# A link that is no declaration and stays inside is passed over, as is what nothing reads.
ln -s servers/one.yaml work/READ-ME
printf '\tnot: [yaml' >work/notes.txt
mkdir work/.github
printf '<<<<<<< HEAD\n' >work/.github/x.yaml
commit work 'What is not read'
push_ok work
assert_contains "$said" '0 to create, 0 to change, 0 to delete, 0 conflicts, 6 unchanged'

# ---- histories ------------------------------------------------------------------------------------------------------

head=$(head_of_remote)
before=$(mcpctl get all -o yaml)
revision=$(revision)
git -C work branch -q keep
git -C work reset -q --hard HEAD~2
refused 'a rewound history' --force <<'TEXT'
error: main would be rewound: 2 commits would be lost
hint: git revert undoes commits and keeps them; if a new beginning is meant: git push --force -o new-epoch (what differs becomes a conflict, nothing is deleted)
refused: nothing was changed
TEXT

git -C work reset -q --hard HEAD~1
git -C work commit -q --allow-empty -m 'Another end'
refused 'a history with another end' --force <<TEXT
error: main has moved on: 1 commit would be lost
hint: 1 commit since $(git -C work rev-parse --short=7 "$head~1"): git pull --rebase; if a new beginning is meant: git push --force -o new-epoch (what differs becomes a conflict, nothing is deleted)
refused: nothing was changed
TEXT

# anew: a history of its own that declares one server more, one differently, and lacks the others.
anew() {
    git -C work checkout -q --orphan anew
    git -C work rm -q -r -f .
    idle work/servers/one.yaml one first
    idle work/servers/two.yaml two theirs
    idle work/servers/seven.yaml seven theirs
    commit work 'Anew'
}
anew
refused 'an unrelated history' --force <<'TEXT'
error: this history has no commit in common with the one that is here
hint: clone the repository and commit on top of it; if a new beginning is meant: git push --force -o new-epoch (what differs becomes a conflict, nothing is deleted)
refused: nothing was changed
TEXT
git -C work checkout -q main
git -C work branch -q -D anew
anew
push_ok work --force -o new-epoch
assert_line "$said" 'plan [0-9a-f]{7}: 1 to create, 0 to change, 0 to delete, 1 conflict, 1 unchanged'
assert_line "$said" '  \+ server/seven'
assert_line "$said" '  ! server/two .*the store.s "second" kept, yours "theirs" .*'
assert_line "$said" 'applied: revision [0-9]+'
wait_for same
assert_eq "$(mcpctl get server -o name | wc -l)" 7 'a new epoch deletes nothing'
git -C work fetch -q
assert_eq "$(git -C work ls-tree --name-only origin/main:servers | wc -l)" 7 'what was only here is in the new history'
git -C work merge-base --is-ancestor HEAD origin/main || fail 'the new history does not go on from what was pushed'
git -C work checkout -q -B main origin/main
expect 0 mcpctl conflicts accept server/two --from store

# By hand while mcpd is off.
stop_mcpd
tip=$(git -C data/config.git rev-parse main)
git -C data/config.git update-ref refs/heads/main "$tip~1"
start_mcpd
repoint work
told() { mcpctl status 2>&1 | grep -Fq -- "$1"; }
wait_for told 'waiting for approval'
short() { git -C data/config.git rev-parse --short=7 "$1"; }
wait_for told "the history was replaced: $(short "$tip~1") does not follow $(short "$tip"), which was agreed last: nothing is taken over or written until a person says so (mcpctl sync --new-epoch: what differs becomes a conflict, nothing is deleted)"
assert_eq "$(mcpctl get server -o name | wc -l)" 7 'a rewound branch deletes nothing'
waited() { api GET '/events?limit=1000' | jq '[.items[] | select(.reason == "Waiting")] | length'; }
assert_eq "$(waited)" 1 'it is told once'
expect 3 mcpctl sync --wait --new-epoch
assert_contains "$out" '1 conflict (mcpctl conflicts)' 'what the rewound branch says is not lost either'
expect 0 mcpctl conflicts accept server/two --from store
wait_for same
assert_eq "$(mcpctl get server -o name | wc -l)" 7
follow() {
    git -C work fetch -q
    git -C work checkout -q -B main origin/main
}
follow

# ---- another mcpd ---------------------------------------------------------------------------------------------------

first=("$data" "$mcpd" "$url" "$token" "$remote")
data=$here/second
start_mcpd
git -C work push -q "$remote" main 2>"$here/.push" || fail "the second mcpd refused: $(<"$here/.push")"
wait_for same
expect 0 mcpctl patch server one 'description=by the second'
wait_for same
git -C work pull -q "$remote" main
writer=$(git -C work log -1 --format='%(trailers:key=Mcpctl-Writer,valueonly)' | head -n 1)
[[ -n $writer ]] || fail 'the second mcpd did not sign its commit'
stop_mcpd
data=${first[0]} mcpd=${first[1]} url=${first[2]} token=${first[3]} remote=${first[4]}
export MCPCTL_URL=$url MCPCTL_TOKEN=$token
push_ok work
why="another mcpd writes to this repository ($writer in $(git -C work rev-parse --short=7 HEAD)): nothing is written into it until a person says so (mcpctl sync --take-over)"
assert_line "$said" '  ~ server/one +description .*'
assert_eq "$(tail -n 1 <<<"$said")" "warning: $why" 'the push is not told of the other writer'
assert_contains "$(mcpctl get server one -o yaml)" 'by the second' 'imports go on'
head=$(head_of_remote)
expect 0 mcpctl patch server one 'description=by the first'
wait_for told '1 change not in the repository yet'
wait_for told "$why"
expect 3 mcpctl status --check
assert_eq "$(head_of_remote)" "$head" 'it was written all the same'
assert_eq "$(waited)" 2 'it is told once'
expect 0 mcpctl sync --take-over
wait_for same
[[ $(head_of_remote) != "$head" ]] || fail 'nothing was written after the takeover'
follow
assert_eq "$(git -C work log -1 --format=%s)" 'update server/one: description "by the second" → "by the first"'

# With the word it may.
git -C work rm -q -r servers
commit work 'Let go'
push_ok work -o allow-mass-delete
assert_contains "$said" '7 to delete'
wait_for same
assert_eq "$(mcpctl get server -o name)" ''
stop_mcpd

# ---- the same in a watched folder -----------------------------------------------------------------------------------

mkdir folder
good folder
cp -R folder kept
data=$here/watched
start_mcpd --watch "$here/folder"
wait_for same
before=$(mcpctl get all -o yaml)
revision=$(revision)

restore() {
    find folder -mindepth 1 -maxdepth 1 ! -name .mcpctl -exec rm -rf {} +
    cp -R kept/. folder/
    wait_for converged
    assert_eq "$(mcpctl get all -o yaml)" "$before" 'restored: a resource changed'
    assert_eq "$(revision)" "$revision" 'restored: the revision moved'
}

# held NAME WORDS...: status says each of the WORDS, everything stays in force, and the good state is taken again.
held() {
    local name=$1 words
    shift
    for words in "$@"; do
        wait_for told "$words"
    done
    expect 3 mcpctl status --check
    assert_eq "$(mcpctl get all -o yaml)" "$before" "$name: a resource changed"
    assert_eq "$(revision)" "$revision" "$name: the revision moved"
    restore
}

rm folder/servers/{one,two,three,four}.yaml
held 'a mass deletion' 'waiting for approval' \
    'this would delete 4 of 6 resources: nothing is imported until a person says so (mcpctl sync --allow-mass-delete)'
rm -r folder/servers
held 'an empty folder' 'waiting for approval' \
    'this would delete 6 of 6 resources: nothing is imported until a person says so (mcpctl sync --allow-mass-delete)'
mv folder gone
held_away() { told 'failing' && told "the watched folder $here/folder is not there"; }
wait_for held_away
assert_eq "$(mcpctl get all -o yaml)" "$before" 'a folder that is gone'
mv gone folder
restore

# spoilt NAME PLACE: servers/two.yaml as it is now is told at its place, and server/two is held.
spoilt() { held "$1" 'a part is held' 'held       server/two' "error: servers/two.yaml$2"; }

rm folder/servers/two.yaml
ln -s ../../../etc/passwd folder/servers/two.yaml
spoilt 'a link out of the folder' ': symbolic links are not followed'
rm folder/servers/two.yaml
ln -s /etc folder/etc
held 'a link to a folder' 'error: etc: symbolic links are not followed'
mkfifo folder/servers/pipe.yaml
held 'a pipe' 'error: servers/pipe.yaml'
cp folder/servers/two.yaml 'folder/servers/x\..\y.yaml'
held 'a backslash' 'error: servers/x'
printf 'kind: server\nname: two\ndescription: \xc3\x28\n' >folder/servers/two.yaml
spoilt 'invalid UTF-8' ':3:14: not UTF-8: byte 0xc3'
printf 'kind: server\nname: two\ncommand:\n\t- "true"\n' >folder/servers/two.yaml
spoilt 'a tab' ":4:1: a tab can't be used for indentation"
printf '<<<<<<< HEAD\nkind: server\nname: two\n' >folder/servers/two.yaml
spoilt 'merge markers' ':1:1: merge marker'
# shellcheck disable=SC2059
printf "$bomb$server" >folder/servers/two.yaml
spoilt 'an alias bomb' ':5:36: aliases make this document too large'
{
    # shellcheck disable=SC2059
    printf "$server"
    printf '# %01100000d\n' 0
} >folder/servers/two.yaml
spoilt 'a large file' ': the file is over 1 MiB'
mkdir -p "folder/$(printf 'd/%.0s' {1..70})"
held 'deep folders' 'folders are nested over 64 deep'

# A byte order mark is passed over here too.
printf '\xef\xbb\xbf' | cat - kept/servers/two.yaml >folder/servers/two.yaml
wait_for converged
assert_eq "$(mcpctl get all -o yaml)" "$before" 'a byte order mark'
