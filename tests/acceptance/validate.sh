#!/usr/bin/env bash
# mcpctl validate is the push gate without mcpd: of each bad repository it tells what a push of it to a real mcpd is told,
# to the byte. Then the forms for machines, and the schema in a real editor's language server.
source "$ROOT/tests/support/lib.sh"
needs git curl jq sops
[[ -n $MCPCTL_TEST_NODE ]] || { echo 'a Node of the tests is missing: run tests/run --tools' >&2 && exit 77; }

start_mcpd
token_of_github=ghp_""16C7e42F292c6912E7710c838347Ae178B4a
recipient=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj

# in_repository NAME: a fresh folder $here/bad, made the working folder.
begin() {
    cd "$here"
    rm -rf bad
    mkdir -p bad/servers bad/projects bad/secrets bad/.mcpctl
    git -C bad init -q
    cd bad
    bad=$1
}

# both STATUS: the same verdict by a push and by validate; of a refusal every line but the last is the same.
both() {
    cd "$here"
    git -C bad add -A
    git -C bad commit -q -m "$bad"
    local without
    status=0
    (cd bad && env -u MCPCTL_URL -u MCPCTL_TOKEN mcpctl validate) >"$here/.verdict" 2>"$here/.err" || status=$?
    [[ $status == 1 && ! -s $here/.err ]] || fail "$bad: status $status: $(<"$here/.verdict") $(<"$here/.err")"
    git -C bad push "$remote" HEAD:main >"$here/.push" 2>&1 && fail "$bad: the push was accepted"
    sed -n 's/^remote: \{0,1\}//p' "$here/.push" | sed 's/[[:space:]]*$//' | sed '/^$/d' >"$here/.told"
    sed 's/[[:space:]]*$//' "$here/.verdict" | sed '/^$/d' >"$here/.validated"
    without=$(diff <(sed '$d' "$here/.told") <(sed '$d' "$here/.validated")) ||
        fail "$bad: a push (<) and validate (>) differ:"$'\n'"$without"
    # refused: 2 errors in 1 file; nothing was changed | invalid: 2 errors in 1 file
    assert_eq "$(tail -n 1 "$here/.validated")" \
        "$(tail -n 1 "$here/.told" | sed 's/^refused:/invalid:/; s/; nothing was changed$//')" "$bad: the last line"
    say "same: $bad ($(grep -c '^error: ' "$here/.validated") errors)"
}

server() { printf 'kind: server\nname: %s\ncommand: ["true"]\nreplicas: 0\n' "$1"; }

say '-- the corpus of bad repositories'
begin 'unknown and nested fields'
server one | sed 's/replicas/replica/' >servers/one.yaml
printf 'kind: server\nname: two\ncommand: ["true"]\nenv:\n  - name: A\n    valeu: b\n' >servers/two.yaml
both
begin 'kinds, references, types, ranges, words, names'
printf 'kind: sever\nname: a\n' >servers/a.yaml
printf 'kind: project\nname: p\nservers:\n  - one\n  - tow\n' >projects/p.yaml
server one >servers/one.yaml
server two | sed 's/replicas: 0/replicas: many/' >servers/b.yaml
server three | sed 's/replicas: 0/replicas: 11/' >servers/c.yaml
printf 'kind: server\nname: Four\ncommand: ["true"]\nupdate: bluegreen\n' >servers/d.yaml
both
begin 'duplicates in three files'
for n in 1 2 3; do server one >servers/$n.yaml; done
both
begin 'characters before the place'
printf '{kind: server, name: two, description: "größer → besser", colour: 1, command: ["true"]}\n' >servers/two.yaml
both
begin 'broken texts'
printf 'kind: server\nname: two\ndescription: "never closed\n' >servers/a.yaml
printf 'kind: server\n\tname: two\n' >servers/b.yaml
printf 'kind: server\nname: \xff\n' >servers/c.yaml
printf '<<<<<<< ours\nkind: server\n=======\n>>>>>>> theirs\n' >servers/d.yaml
printf 'a: &a [x]\nb: *c\n' >servers/e.yml
printf '{"kind": "server", "name": "j", "command": ["x"], "command": ["y"]}' >servers/f.json
both
begin 'links, large and deep files, odd names'
ln -s ../outside servers/link.yaml
ln -s nowhere dangling
ln -s servers/one.yaml passed-over
server one >servers/one.yaml
{ server big; head -c 1100000 /dev/zero | tr '\0' '#'; } >servers/big.yaml
server slash >'servers/a\b.yaml'
deep=$(printf 'd/%.0s' {1..70})
mkdir -p "$deep" && server deep >"$deep/x.yaml"
both
begin 'a submodule'
git init -q modules
git -C modules commit -q --allow-empty -m x
git add modules 2>/dev/null
server one >servers/one.yaml
both
begin 'credentials anywhere, and one that is let through'
printf 'Use it with\n  token: %s\n' "$token_of_github" >note.md
printf 'a\ntoken: %s # mcpctl:allow-secret an example\n' "$token_of_github" >allowed.md
mkdir -p .github && printf 'key: AKIA""%s\n' IOSFODNN7ABCDEFG | tr -d '"' >.github/ci.yml
cp note.md again.md
server one | sed "s/replicas: 0/description: $token_of_github/" >servers/one.yaml
both
begin 'a secret in the clear, alone and beside others'
printf 'kind: secret\nname: keys\ndata:\n  TOKEN: first-value-0815\n' >secrets/keys.yaml
{ server one; printf -- '---\nkind: secret\nname: more\ndata: {A: second-value-0815}\n'; } >servers/one.yaml
both
assert_lacks "$(<"$here/.validated")" value-0815
begin 'encrypted secrets of a wrong shape'
printf 'kind: secret\nname: whole\ndata:\n  TOKEN: first-value-0815\n' >secrets/whole.yaml
sops encrypt -i --age "$recipient" --encrypted-regex '^data$' secrets/whole.yaml
sed 's/^name: .*/name: cut/; /mac:/d' secrets/whole.yaml >secrets/cut.yaml
sed 's/^name: .*/name: opened/; s/TOKEN: .*/TOKEN: in-the-clear-0815/' secrets/whole.yaml >secrets/opened.yaml
{ sed 's/^name: .*/name: beside/' secrets/whole.yaml; printf -- '---\n'; server one; } >secrets/beside.yaml
sed 's/^name: .*/name: rule/; s/encrypted_regex: .*/encrypted_regex: ^other$/' secrets/whole.yaml >secrets/rule.yaml
both
assert_lacks "$(<"$here/.validated")" clear-0815
begin 'a list of recipients with slips'
printf '# anna\n%s\nage1qq\nssh-rsa AAAA\n' "$recipient" >.mcpctl/recipients
server one >servers/one.yaml
server two | sed 's/replicas/replica/' >servers/two.yaml
both
begin 'more errors than are shown'
for n in {1..30}; do server "s$n" | sed 's/replicas/replica/' >"servers/$n.yaml"; done
both
assert_eq "$(head_of_remote)" none

say '-- what git would not push is not looked at'
begin 'ignored files'
printf '.env\n/build/\n' >.gitignore
printf 'TOKEN=%s\n' "$token_of_github" >.env
mkdir -p build .mcpctl/local && server one | sed 's/replicas/replica/' >build/x.yaml
printf '%s\n' "$token_of_github" >.mcpctl/local/admin.token
server one >servers/one.yaml
server two >servers/two.yaml
printf 'kind: project\nname: p\nservers: [one, two]\n' >projects/p.yaml
expect 0 mcpctl validate
assert_eq "$out" 'valid: 3 resources in 3 files'
# The same without any repository, and what is tracked counts although it is ignored.
git add -f .env
expect 1 mcpctl validate
assert_contains "$out" 'error: .env:1:7: this looks like a token of GitHub'
rm -rf .git
expect 0 mcpctl validate .
assert_eq "$err" ''

say '-- one file, and stdin, within their repository'
expect 0 mcpctl validate projects/p.yaml
assert_eq "$out" 'valid: 1 resource in 1 file'
printf 'kind: project\nname: p\nservers: [one, too]\n' >projects/p.yaml
server one | sed 's/replicas/replica/' >servers/one.yaml
expect 1 mcpctl validate projects/p.yaml
assert_line "$out" 'error: projects/p.yaml:3:16: no server is called "too"'
assert_lacks "$out" servers/one.yaml
run bash -c 'printf "kind: project\nname: p\nservers: [two]\n" | mcpctl validate -'
assert_eq "$status $out" '0 valid: 1 resource in 1 file'
run bash -c 'printf "kind: server\nname: x\ncommnd: [a]\n" | mcpctl validate -'
assert_eq "$status" 1
assert_line "$out" 'error: <stdin>:3:1: unknown field "commnd" of a server'
printf '/ignored.yaml\n' >>.gitignore && server x >ignored.yaml
expect 1 mcpctl validate ignored.yaml
assert_contains "$err" 'ignored.yaml is no part of the repository'
rm ignored.yaml
expect 2 mcpctl validate --nope
expect 1 mcpctl validate nowhere

say '-- for machines'
expect 1 mcpctl validate -o json
assert_eq "$(jq -r '[.valid, .resources, (.diagnostics | length), .diagnostics[0].file] | map(tostring) | join(" ")' <<<"$out")" \
    'false 1 2 projects/p.yaml'
cd "$here"
git -C bad init -q
mkdir -p whole/deploy && cp -r bad whole/deploy/mcp && rm -rf whole/deploy/mcp/.git && git -C whole init -q
mv whole/deploy/mcp/projects/p.yaml 'whole/deploy/mcp/projects/p ö.yaml'
expect 1 mcpctl validate -o sarif whole/deploy/mcp
printf '%s' "$out" >log.sarif
"$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/sarif.mjs" log.sarif || fail "this is no SARIF: $out"
assert_eq "$(jq -r '.runs[0].results[0].locations[0].physicalLocation | .artifactLocation.uri, .region.startColumn' <<<"$out" | xargs)" \
    'deploy/mcp/projects/p%20%C3%B6.yaml 16'
assert_eq "$(jq -r '.runs[0].results[].ruleId' <<<"$out" | xargs)" 'reference unknown-field'

say '-- the schema in an editor'
cd "$here"
mkdir -p editor/servers
expect 0 mcpctl schema --dir editor/.mcpctl/schema
printf '# yaml-language-server: $schema=../.mcpctl/schema/mcpctl.json\nkind: server\nname: a\ncommand: ["x"]\nreplicas: 99\nupdate: \nsta\n' \
    >editor/servers/a.yaml
seen=$("$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/editor.mjs" editor/servers/a.yaml 6 3)
jq -e '.diagnostics | any(.line == 4 and (.message | test("10")))' <<<"$seen" >/dev/null || fail "no error of replicas: $seen"
jq -e '.offered | index("startTimeoutSeconds")' <<<"$seen" >/dev/null || fail "no completion of a field: $seen"
seen=$("$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/editor.mjs" editor/servers/a.yaml 5 8)
jq -e '.offered | contains(["recreate", "rolling"])' <<<"$seen" >/dev/null || fail "no completion of a word: $seen"
jq -e '.told | test("What is declared")' <<<"$seen" >/dev/null || fail "nothing is told of a field: $seen"
printf '# yaml-language-server: $schema=../.mcpctl/schema/mcpctl.json\nkind: server\nname: a\ncommand: ["x"]\n---\nservers:\n  - name: b\n    packageName: x\n' \
    >editor/servers/a.yaml
seen=$("$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/editor.mjs" editor/servers/a.yaml 3 0)
assert_eq "$(jq -c .diagnostics <<<"$seen")" '[]' 'a valid file has a fault in the editor'
