#!/usr/bin/env bash
# A remote over https, with git's own http-backend: a certificate that is not trusted is refused, a wrong token is told and
# never shown, both directions work; a server that fails, hangs, redirects or loses its answer to a push harms nothing.
source "$ROOT/tests/support/lib.sh"
needs git curl jq openssl python3
mkdir served
git init -q --bare served/remote.git
git -C served/remote.git config http.receivepack true
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests \
    -addext 'subjectAltName=IP:127.0.0.1' -keyout key.pem -out certificate.pem 2>openssl.log
right=token-$RANDOM$RANDOM$RANDOM
python3 -IS "$ROOT/tests/support/git_http.py" "$here/served" certificate.pem key.pem "$right" "$here/fault" \
    >git_port 2>git.log &
started+=("$!")
has_port() { [[ -s git_port ]]; }
wait_for has_port
git_port=$(<git_port)
export MCPD_SYNC_INTERVAL=1s MCPD_REPO=https://127.0.0.1:$git_port/remote.git MCPD_REPO_TOKEN_FILE=$here/token
printf 'wrong-%s\n' "$right" >token
trouble() { mcpctl backup status -o json | jq -r '.lastError // ""'; }
trouble_has() { [[ $(trouble) == *"$1"* ]]; }
pending_is() { [[ $(mcpctl backup status -o json | jq -r .pendingCount) == "$1" ]]; }
there() { git -C served/remote.git show "main:$1"; }

say '-- a certificate that nobody vouches for'
start_mcpd
wait_for trouble_has 'certificate'
stop_mcpd

say '-- a wrong token is refused, and the right one needs no restart'
export MCPD_CA_BUNDLE=$here/certificate.pem
start_mcpd
wait_for trouble_has 'refuses the token'
printf '%s\n' "$right" >token
expect 0 mcpctl sync
assert_eq "$(trouble)" ''

say '-- both directions'
expect 0 mcpctl create server made --command true --replicas 0
wait_for there servers/made.yaml
git clone -q served/remote.git work
for n in {1..60}; do idle "work/servers/s$n.yaml" "s$n" "$(head -c 200 /dev/urandom | base64 -w0)"; done
commit work 'Servers'
git -C work push -q origin HEAD:main
expect 0 mcpctl sync
expect 0 mcpctl get server s60
for n in {1..20}; do printf 'kind: server\nname: big%s\ncommand: ["true"]\nreplicas: 0\ndescription: %s\n---\n' \
    "$n" "$(head -c 3000 /dev/urandom | base64 -w0)"; done >big.yaml
expect 0 mcpctl apply -f big.yaml
wait_for there servers/big20.yaml

say '-- the answer to a push is lost: it is found out, nothing is written twice'
count() { git -C served/remote.git rev-list --count main; }
before=$(count)
echo lose >fault
expect 0 mcpctl patch server made description=lost-answer
landed() { there servers/made.yaml | grep -q lost-answer; }
wait_for landed
rm fault
wait_for pending_is 0
assert_eq "$(count)" "$((before + 1))"

say '-- the same while mcpd is killed: what a person does meanwhile stays'
echo lose >fault
expect 0 mcpctl patch server made description=lost-again
again() { there servers/made.yaml | grep -q lost-again; }
wait_for again
stop_mcpd KILL
rm fault
git -C work pull -q --rebase origin main
git -C work rm -q servers/made.yaml
commit work 'Away with it'
git -C work push -q origin HEAD:main
start_mcpd
made_is_gone() { ! mcpctl get server made; }
wait_for made_is_gone
wait_for pending_is 0
run there servers/made.yaml
[[ $status != 0 ]] || fail 'what a person deleted came back'
assert_eq "$(mcpctl conflicts 2>&1)" 'no conflicts'

say '-- a server that fails or sends mcpd elsewhere'
echo fail >fault
wait_for trouble_has 500
echo redirect >fault
wait_for trouble_has 'does not follow'
rm fault
expect 0 mcpctl sync
echo redirect-push >fault
expect 0 mcpctl patch server s3 description=redirected
wait_for trouble_has 'does not follow'
rm fault
wait_for pending_is 0
assert_contains "$(there servers/s3.yaml)" redirected

say '-- a refusal by a hook of the remote is told in its words, and tried again'
printf '#!/bin/sh\necho no-such-luck >&2\nexit 1\n' >served/remote.git/hooks/pre-receive
chmod +x served/remote.git/hooks/pre-receive
expect 0 mcpctl patch server s1 description=refused
wait_for trouble_has 'refuses what mcpd pushes'
assert_eq "$(mcpctl backup status -o json | jq -r .gitReachable)" true
rm served/remote.git/hooks/pre-receive
wait_for pending_is 0

say '-- a server that says nothing keeps nothing waiting'
echo hang >fault
expect 0 mcpctl patch server s2 description=hanging
expect 0 mcpctl status
curl -sf -o /dev/null "$url/readyz" || fail 'not ready'
stop_mcpd
rm fault

say '-- the token is nowhere'
run grep -rlF "$right" "$data" mcpd.log
assert_eq "$out" ''
run mcpd --print-settings --data-dir "$data"
assert_lacks "$out" "$right"
unset MCPD_REPO_TOKEN_FILE
MCPD_REPO=https://git:$right@127.0.0.1:$git_port/remote.git start_mcpd
wait_for pending_is 0
assert_contains "$(there servers/s2.yaml)" hanging
assert_lacks "$(mcpctl status -o json) $(mcpctl backup status -o json)" "$right"
assert_eq "$(mcpctl backup status -o json | jq -r .repoUrl)" "https://127.0.0.1:$git_port/remote.git"
run grep -F "$right" mcpd.log
assert_eq "$out" ''
