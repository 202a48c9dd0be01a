#!/usr/bin/env bash
# A first repository runs as it was made, under mcpctl dev and by a push; what clients keep becomes declarations that pass
# the gate, with their credentials encrypted, and run.
source "$ROOT/tests/support/lib.sh"
needs git curl jq sops python3 uvx

# The first words of a person who has nothing: no daemon, no token.
alone() { env -u MCPCTL_URL -u MCPCTL_TOKEN "$@"; }

say '-- init makes a repository that is valid'
expect 0 alone mcpctl init fleet
assert_line "$out" '\+ servers/time.yaml'
assert_line "$out" 'git: a new repository, its branch is main'
assert_line "$out" '  mcpctl dev fleet +run it while you edit it'
[[ -f fleet/.mcpctl/schema/mcpctl.json && -d fleet/.git ]] || fail 'the schema or the repository is missing'
expect 0 alone mcpctl validate fleet
assert_eq "$out" 'valid: 2 resources in 2 files'
say '-- a second time it writes over nothing'
printf 'mine\n' >fleet/.gitignore
before=$(cat fleet/servers/*.yaml fleet/projects/*.yaml fleet/.gitignore)
expect 0 alone mcpctl init fleet
assert_line "$out" '2 resources here already: no example is added'
assert_line "$out" '  .gitignore: there already, left as it is'
assert_eq "$(cat fleet/servers/*.yaml fleet/projects/*.yaml fleet/.gitignore)" "$before" 'init wrote over what was there'
printf '.mcpctl/local/\n' >fleet/.gitignore

say '-- it runs under mcpctl dev'
alone mcpctl dev fleet --listen 127.0.0.1:0 >dev.log 2>&1 </dev/null &
dev=$!
started+=("$dev")
in_fleet() { (cd fleet && alone mcpctl "$@"); }
dev_runs() { in_fleet status --check && [[ $(in_fleet get servers) == *RUNNING* ]]; }
wait_for dev_runs

say '-- credentials are encrypted for the mcpd that answers, and nobody else sees them'
token_of_github=ghp_""16C7e42F292c6912E7710c838347Ae178B4a
cat >mcp.json <<TEXT
{
  "mcpServers": {
    "Fake One": {
      "command": "python3",
      "args": ["-IS", "$fake_server", "$mark"],
      "env": {"GITHUB_TOKEN": "$token_of_github", "API_KEY": "planted-value-0815", "MODE": "open"}
    },
    "far": {"url": "https://ada:planted-value-0815@mcp.example/mcp", "headers": {"Authorization": "planted-value-0815"}},
    "told": {"command": "x", "args": ["--token", "planted-value-0815"]}
  }
}
TEXT
expect 0 in_fleet import ../mcp.json --dir . --project tools
assert_line "$out" '\+ secrets/fake-one.yaml'
assert_line "$out" '\+ servers/fake-one.yaml'
assert_line "$out" '\+ projects/tools.yaml'
assert_line "$err" 'note: \.\./mcp\.json:3:5: Fake One is called fake-one here'
assert_line "$err" 'note: \.\./mcp\.json:8:13: far is left out: .*'
assert_line "$err" 'note: \.\./mcp\.json:9:50: told is left out: .*'
assert_eq "$(grep -rlE "planted-value|$token_of_github" fleet --include=* "$here/.out" "$here/.err" || true)" '' 'a credential is found in'
head -n 1 fleet/servers/fake-one.yaml | grep -q '^# yaml-language-server: ' || fail 'the file is not led to its schema'
expect 0 alone mcpctl validate fleet
assert_eq "$out" 'valid: 5 resources in 5 files'
fake_runs() { (cd fleet && alone mcpctl status --check) && marked_is 1; }
wait_for fake_runs

say '-- nothing is written over'
expect 1 in_fleet import ../mcp.json --dir . --project other
assert_contains "$err" 'server/fake-one is declared already'
[[ ! -e fleet/projects/other.yaml ]] || fail 'a part was written'
kill -TERM "$dev"
wait_for gone "$dev"

say '-- without an mcpd a recipient is needed'
expect 1 alone mcpctl import mcp.json
assert_eq "$out" ''
assert_contains "$err" 'error: there are credentials in mcp.json, and nobody to encrypt them for'
assert_contains "$err" 'hint: give --recipient'
# For a person's key: sops opens it with the private half.
expect 0 alone mcpctl import mcp.json --recipient "$ROOT/tests/fixtures/secret/ssh_ed25519.pub"
printf '%s\n' "$out" >printed.yaml
assert_lacks "$out$err" planted-value
assert_lacks "$out$err" "$token_of_github"
sed '/^---$/,$d' printed.yaml >secret.yaml
SOPS_AGE_SSH_PRIVATE_KEY_FILE=$ROOT/tests/fixtures/secret/ssh_ed25519 sops decrypt --output-type json secret.yaml >opened.json 2>sops.log ||
    fail "sops does not open it: $(<sops.log)"
assert_eq "$(jq -r '.data.API_KEY' opened.json)" planted-value-0815
expect 2 alone mcpctl import mcp.json --recipient age1nonsense
expect 1 alone mcpctl import nowhere.json
mkdir linked elsewhere
ln -s ../elsewhere linked/servers
expect 1 alone mcpctl import mcp.json --dir linked --recipient "$ROOT/tests/fixtures/secret/ssh_ed25519.pub"
assert_contains "$err" 'it is a link, and leads elsewhere'
assert_eq "$(ls elsewhere)" '' 'an import wrote through a link'

say '-- the repository is pushed to an mcpd, and what was imported for it runs there'
start_mcpd
git -C fleet rm -rq --cached . 2>/dev/null || true
rm -rf fleet/secrets fleet/servers/fake-one.yaml fleet/projects/tools.yaml
expect 0 mcpctl import mcp.json --dir fleet --project tools
git -C fleet remote add origin "$remote"
commit fleet 'A first repository'
push_ok fleet
assert_contains "$said" '+ secret/fake-one'
wait_for marked_is 1
session_open /servers/fake-one/mcp
assert_eq "$(call_text env '{"name":"API_KEY"}')" planted-value-0815
assert_eq "$(call_text env '{"name":"MODE"}')" open
wait_for converged
