#!/usr/bin/env bash
# Secrets: never in the clear in the history, in mcpd's data or in what it says; encrypted so that the real sops reads and
# writes them; given to the server that asked and to nothing else; sealed without an identity, open as soon as one comes.
source "$ROOT/tests/support/lib.sh"
needs git curl jq sops python3

export HOST_TOKEN=from-the-host-4711
start_mcpd
clone work

# nowhere VALUE: in no file of mcpd's, in no log, in no object of the repository, in nothing that was said.
nowhere() {
    local value=$1 found
    found=$(grep -rlaF -- "$value" "$data" "$here/mcpd.log" "$here/.push" "$here/.out" "$here/.err" 2>/dev/null || true)
    assert_eq "$found" '' "$value stands in"
    found=$(git -C work log --all -p --format= | grep -cF -- "$value" || true)
    assert_eq "$found" 0 "$value stands in the history, times"
}
tool_env() { mcp_tool "$1" "{\"name\":\"$2\"}"; }

# mcp_tool SERVER ARGUMENTS: what the tool env of a server says.
mcp_tool() {
    session_open "/servers/$1/mcp"
    mcp tools/call "{\"name\":\"env\",\"arguments\":$2}" | jq -r '.result.content[0].text'
}
env_is() { [[ $(tool_env "$1" "$2") == "$3" ]]; }

say '-- a secret in the clear is refused, also where a later commit takes it away'
before=$(revision)
mkdir -p work/secrets work/servers
printf 'kind: secret\nname: keys\ndata:\n  TOKEN: first-value-0815\n' >work/secrets/keys.yaml
commit work 'A slip'
push work
assert_eq "$status" 1
assert_line "$said" 'error: secrets/keys.yaml:3:1: secret/keys stands in the clear'
assert_line "$said" 'hint: encrypt it: mcpctl create secret keys --data KEY=VALUE does and commits it; then take it out here'
assert_line "$said" 'refused: 1 error in 1 file; nothing was changed'
assert_lacks "$said" first-value
git -C work rm -q secrets/keys.yaml
commit work 'Taken out'
push work
assert_eq "$status" 1
assert_contains "$said" 'is in commit'
assert_eq "$(head_of_remote)" none
assert_eq "$(revision)" "$before"
git -C work checkout -q --orphan fresh
git -C work branch -qD main
git -C work branch -qm main

say '-- what looks like a credential is refused anywhere, and let through with a reason'
mkdir -p work/docs
printf 'Use it with\n  token: %s\n' "ghp_""16C7e42F292c6912E7710c838347Ae178B4a" >work/docs/note.md
commit work 'A note'
push work
assert_eq "$status" 1
assert_line "$said" 'error: docs/note.md:2:10: this looks like a token of GitHub'
assert_lacks "$said" ghp_
printf 'Use it with\n  token: %s # mcpctl:allow-secret an example that was never valid\n' \
    "ghp_""16C7e42F292c6912E7710c838347Ae178B4a" >work/docs/note.md
git -C work add -A
git -C work commit -q --amend -m 'A note'
push_ok work
assert_contains "$(api GET /audit/events)" 'allow-secret docs/note.md:2:10: an example that was never valid'

say '-- what the API takes is encrypted before anything is written'
cat >secret.yaml <<'TEXT'
kind: secret
name: keys
data:
  TOKEN: first-value-0815
  OTHER: second-value-0816
  HOST: {fromEnv: HOST_TOKEN}
  MADE: {generate: {length: 24}}
TEXT
expect 0 mcpctl apply -f secret.yaml
expect 0 mcpctl sync
git -C work pull -q --ff-only origin main
file=work/secrets/keys.yaml
assert_contains "$(<"$file")" 'TOKEN: ENC[AES256_GCM,'
nowhere first-value-0815
nowhere second-value-0816
expect 0 mcpctl apply -f secret.yaml
assert_contains "$out$err" '1 unchanged'
expect 0 mcpctl get secret keys -o yaml
assert_eq "$out" "$(<"$file")" 'get does not print what stands in the repository'
mcpctl get secret keys -o yaml >again.yaml
expect 0 mcpctl apply -f again.yaml
assert_contains "$out$err" '1 unchanged'
expect 0 mcpctl get secret keys -o json
printf '%s' "$out" >again.json
expect 0 mcpctl apply -f again.json
assert_contains "$out$err" '1 unchanged'
printf 'kind: secret\nname: keys\ndata: {TOKEN: "***"}\n' >mask.yaml
expect 1 mcpctl apply -f mask.yaml
assert_contains "$err" 'a mask is no value'

# A slip in what is sent is told without what was sent.
sent=unheard-value-0899
for body in "{\"data\":{\"TOKEN\":\"$sent\"},\"nonsense\":true}" "{\"data\":{\"TOKEN\":[\"$sent\"]}}"; do
    run api PATCH /secrets/keys "$body"
    assert_eq "$(<.code)" 400
    assert_lacks "$out" "$sent"
done
twin="{\"kind\":\"secret\",\"name\":\"twin\",\"data\":{\"TOKEN\":\"$sent\"}}"
for body in "[$twin,$twin]" "{\"kind\":\"secret\",\"name\":\"twin\",\"data\":{\"TOKEN\":\"$sent\",\"TOKEN\":\"x\"}}" "${twin%?}"; do
    run api POST /apply "$body"
    assert_eq "$(<.code)" 400
    assert_lacks "$out" "$sent"
done

say '-- a server gets what it asks for, and nothing else'
fake work/servers/a.yaml a
cat >>work/servers/a.yaml <<'TEXT'
env:
  - {name: TOKEN, valueFrom: {secretRef: {name: keys, key: TOKEN}}}
  - {name: FROM_HOST, valueFrom: {secretRef: {name: keys, key: HOST}}}
  - {name: MADE, valueFrom: {secretRef: {name: keys, key: MADE}}}
TEXT
commit work 'A server with secrets'
push_ok work -o wait=60
assert_contains "$said" 'RUNNING server/a 1/1'
assert_line "$said" 'warning: 1 secret would be lost with this host: run mcpctl backup identity'
assert_eq "$(tool_env a TOKEN)" first-value-0815
assert_eq "$(tool_env a FROM_HOST)" "$HOST_TOKEN"
made=$(tool_env a MADE)
assert_eq "${#made}" 24
assert_eq "$(tool_env a OTHER)" '(unset)'
assert_eq "$(tool_env a HOST_TOKEN)" '(unset)'
expect 0 mcpctl diff
expect 0 mcpctl describe server a
assert_lacks "$out" first-value
nowhere first-value-0815
nowhere "$made"

say '-- the real sops opens it with the identity, and writes it'
expect 0 mcpctl backup identity
printf '%s\n' "$out" >identity.txt
safe() { ! mcpctl status 2>&1 | grep -q 'would be lost'; }
wait_for safe
export SOPS_AGE_KEY_FILE=$here/identity.txt
assert_eq "$(sops decrypt --extract '["data"]["TOKEN"]' "$file")" first-value-0815
sops set "$file" '["data"]["TOKEN"]' '"third-value-0817"'
commit work 'Another token'
push_ok work -o wait=60
assert_line "$said" '  ~ secret/keys  data.TOKEN .*'
assert_contains "$said" 'replace a/0 (env)'
assert_lacks "$said" third-value
wait_for env_is a TOKEN third-value-0817

say '-- a patch changes one value and leaves the others as they stand'
cp "$file" before.yaml
expect 0 mcpctl patch secret keys data.OTHER=fourth-value-0818
assert_eq "$out" '~ secret/keys  data.OTHER "***" → "*** (changed)"'
expect 0 mcpctl patch secret keys data.OTHER=fourth-value-0818 -o json
assert_lacks "$out$err" value-08
expect 0 mcpctl patch secret keys data.OTHER=fourth-value-0818
assert_contains "$out" 'is so already'
# A mistake is told without what was sent.
for body in '{"data":{"bad key":"fifth-value-0819"}}' '{"data":"fifth-value-0819"}' '{"foo":"fifth-value-0819"}' \
    '{"data":{"K":{"from":"fifth-value-0819"}}}' '{"data":{"K":"fifth-value-0819","M":"***"}}'; do
    assert_lacks "$(curl -sS -X PATCH -H "Authorization: Bearer $token" -H 'Content-Type: application/merge-patch+json' \
        --data-binary "$body" "$url/api/v1/secrets/keys")" fifth-value "$body"
done
for text in 'kind: secret\nname: x\ndata:\n  A: one\n   B: fifth-value-0819\n' 'kind: secert\nname: x\ndata: {A: fifth-value-0819}\n' \
    'kind: secret\nname: x\ndata: {A: "fifth-value-0819}\n' 'name: x\ndata: {A: fifth-value-0819}\n'; do
    assert_lacks "$(printf '%b' "$text" | curl -sS -X POST -H "Authorization: Bearer $token" -H 'Content-Type: application/yaml' \
        --data-binary @- "$url/api/v1/apply")" fifth-value "$text"
done
expect 0 mcpctl sync
git -C work pull -q --ff-only origin main
changed=$({ diff before.yaml "$file" || true; } | sed -n 's/^> *\([A-Za-z]*\):.*/\1/p' | sed /lastmodified/d | sort | tr '\n' ' ')
assert_eq "$changed" 'OTHER mac '
assert_eq "$(sops decrypt --extract '["data"]["OTHER"]' "$file")" fourth-value-0818
assert_eq "$(git -C work log -1 --format=%s)" 'update secret/keys: data.OTHER "***" → "*** (changed)"'
nowhere fourth-value-0818

say '-- what was tampered with is refused'
sed -i 's/^name: keys/name: other/' before.yaml
cp before.yaml work/secrets/other.yaml
commit work 'The values of one under the name of another'
push work
assert_eq "$status" 1
assert_contains "$said" 'error: secrets/other.yaml'
git -C work reset -q --hard origin/main

say '-- another recipient: one commit encrypts for both'
mkdir -p work/.mcpctl
ssh-keygen -q -t ed25519 -N '' -f other_key
cp other_key.pub work/.mcpctl/recipients
commit work 'A second recipient'
push_ok work
two() { git -C work pull -q --ff-only origin main && grep -q "$(cut -d' ' -f2 other_key.pub)" "$file"; }
wait_for two
assert_eq "$(git -C work log -1 --format=%s)" 'encrypt 1 secret for 2 recipients'
assert_eq "$(SOPS_AGE_KEY_FILE=/dev/null SOPS_AGE_SSH_PRIVATE_KEY_FILE=$here/other_key sops decrypt --extract '["data"]["TOKEN"]' "$file")" third-value-0817
printf 'nonsense\n' >>work/.mcpctl/recipients
commit work 'A slip in the list'
push work
assert_eq "$status" 1
assert_contains "$said" 'error: .mcpctl/recipients:2:1:'
git -C work reset -q --hard origin/main

say '-- a wiped host without the identity: sealed, and everything else is back'
digest() { mcpctl restore --verify | sed -n 's/^digest *//p'; }
fake work/servers/b.yaml b
commit work 'A server without secrets'
push_ok work -o wait=60
was=$(digest)
stop_mcpd
rm -rf "$data"
sealed_reason() { mcpctl status | grep -F 'secret keys is sealed: no identity here opens it'; }
MCPD_IDENTITY_FILE=$here/given.txt start_mcpd
repoint work
push_ok work -o wait=10
assert_contains "$said" 'RUNNING server/b 1/1'
assert_contains "$said" 'ERROR server/a 0/1'
wait_for sealed_reason
expect 3 mcpctl restore --verify
assert_contains "$out" 'sealed     secret/keys'
expect 1 mcpctl patch secret keys data.OTHER=x
assert_contains "$err" 'secret/keys is sealed'
expect 1 mcpctl apply -f secret.yaml
assert_contains "$err" 'secret/keys is sealed'
git -C work fetch -q
assert_eq "$(git -C work rev-parse HEAD)" "$(head_of_remote)" 'commits were made over what is sealed'
[[ $(digest) != "$was" ]] || fail 'a sealed state has the digest of an open one'

say '-- the identity comes: it opens without a restart, and the state is the one before'
cp identity.txt given.txt
expect 0 mcpctl sync --wait 60
assert_eq "$(digest)" "$was" 'the digest differs'
assert_eq "$(tool_env a TOKEN)" third-value-0817
assert_eq "$(tool_env a MADE)" "$made" 'the value that was made is another one'
# This host has an identity of its own, for which the secret is encrypted now too.
git -C work pull -q --ff-only origin main
assert_contains "$(<"$file")" "$(mcpctl backup -o json | jq -r '.recipients[0]')"
nowhere third-value-0817

say '-- wiped once more, with what this host gave out: the values that were made are still the same'
mcpctl backup identity >second.txt
stop_mcpd
rm -rf "$data"
MCPD_IDENTITY_FILE=$here/second.txt start_mcpd
repoint work
push_ok work -o wait=30
expect 0 mcpctl sync --wait 60
assert_eq "$(digest)" "$was" 'the digest differs after the second wipe'
assert_eq "$(tool_env a MADE)" "$made"

say '-- values are shown to who may change them, and that is written down'
expect 0 mcpctl get secret keys --reveal
assert_contains "$out" third-value-0817
assert_contains "$(api GET /audit/events)" 'reveal secret/keys'
expect 0 mcpctl get secret keys -o yaml
assert_lacks "$out" third-value
