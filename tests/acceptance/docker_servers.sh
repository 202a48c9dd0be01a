#!/usr/bin/env bash
# Servers in containers, from a push to a call: packages of npm and PyPI in the runner images, an image with its own command
# and one without, HTTP in a container; hardened, limited only where that is asked for, reachable from this machine alone.
source "$ROOT/tests/support/lib.sh"
needs git curl jq docker
docker_cluster
start_mcpd
clone work

say '-- one push, every kind of source'
mkdir -p work/servers work/projects work/secrets
cp "$ROOT"/examples/repo/servers/{everything,time}.yaml work/servers/
cat >work/servers/images.yaml <<TEXT
kind: server
name: own-command
dockerImage: $MCPCTL_TEST_FIXTURE_IMAGE
env:
  - {name: PLAIN, value: "plain value"}
  - {name: TOKEN, valueFrom: {secretRef: {name: made, key: TOKEN}}}
---
kind: server
name: given-command
dockerImage: $MCPCTL_TEST_FIXTURE_BARE_IMAGE
command: [/fixture_server]
resources: {memory: 128m, cpus: 0.5, pids: 64}
security: {readOnlyRoot: true, user: "1000:1000"}
network: none
---
kind: server
name: over-http
dockerImage: $MCPCTL_TEST_FIXTURE_IMAGE
command: [/fixture_server, --http, "8080"]
transport: STREAMABLE_HTTP
containerPort: 8080
---
kind: server
name: over-sse
dockerImage: $MCPCTL_TEST_FIXTURE_IMAGE
command: [/fixture_server, --sse, "8081"]
transport: SSE
containerPort: 8081
TEXT
printf 'kind: secret\nname: made\ndata: {TOKEN: {generate: {length: 40}}}\n' >work/secrets/made.yaml
printf 'kind: project\nname: all\nservers: [everything, time, own-command, given-command, over-http, over-sse]\n' >work/projects/all.yaml
commit work 'Every kind of source'
push_ok work -o wait=120
assert_line "$said" 'containers: start everything/0, given-command/0, over-http/0, over-sse/0, own-command/0, time/0 · replace none · stop none'
assert_contains "$said" 'RUNNING server/everything 1/1'
assert_contains "$said" 'RUNNING server/time 1/1'
for name in own-command given-command over-http over-sse; do
    assert_contains "$said" "RUNNING server/$name 1/1"
done
expect 0 mcpctl status --check
assert_contains "$out" 'runtime    docker'

say '-- calls through the project'
session_open /projects/all/mcp
assert_contains "$(call_text everything__echo '{"message":"hello"}')" 'hello'
assert_contains "$(call_text time__get_current_time '{"timezone":"Etc/UTC"}')" 'UTC'
for name in own-command given-command over-http over-sse; do
    assert_contains "$(call_text "${name}__echo" '{"message":"from '"$name"'"}')" "from $name"
done
assert_eq "$(call_text own-command__env '{"name":"PLAIN"}')" 'plain value'
token_value=$(call_text own-command__env '{"name":"TOKEN"}')
assert_eq "${#token_value}" 40

# inspect SERVER FORMAT: of its one container.
inspect() { docker inspect --format "$2" "$(containers --filter "label=mcpctl.io/server=$1")"; }

say '-- labels, hardening, logs that hold no protocol'
for name in everything own-command; do
    assert_eq "$(inspect "$name" '{{.Config.OpenStdin}} {{.Config.StdinOnce}} {{.Config.Tty}} {{.HostConfig.Init}}')" 'true false false true'
    assert_eq "$(inspect "$name" '{{.HostConfig.LogConfig.Type}}')" none
done
assert_eq "$(inspect over-http '{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config "max-size"}} {{index .HostConfig.LogConfig.Config "max-file"}}')" 'local 10m 2'
assert_line "$(inspect own-command '{{index .Config.Labels "mcpctl.io/spec"}}')" '[0-9a-f]{16}\.[0-9a-f]{64}'
assert_eq "$(inspect own-command '{{index .Config.Labels "mcpctl.io/instance"}}')" own-command/0
assert_contains "$(inspect own-command '{{.Name}}')" "$cluster"
assert_eq "$(inspect own-command '{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.CpuQuota}}')" '[ALL] [no-new-privileges:true] 512 0 0 0'
assert_eq "$(inspect given-command '{{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}}')" '64 500000000 134217728 true 1000:1000'
assert_eq "$(inspect own-command '{{.HostConfig.NetworkMode}}')" mcp-servers
assert_eq "$(inspect given-command '{{.HostConfig.NetworkMode}}')" none
assert_line "$(inspect over-http '{{range $port, $where := .NetworkSettings.Ports}}{{range $where}}{{.HostIp}} {{end}}{{end}}')" '127\.0\.0\.1 ?'
whoami=$(call_text given-command__whoami '{}')
assert_contains "$whoami" '1000'

say '-- the value of a secret stands in no label, no log, no answer'
for each in $(containers); do
    docker inspect --format '{{json .Config.Labels}} {{.Name}} {{json .Args}}' "$each"
done >labels.txt
call_text own-command__stderr "{\"text\":\"the token is $token_value and that is it\"}" >/dev/null
logged() { mcpctl logs own-command | grep -F 'the token is *** and that is it'; }
wait_for logged
mcpctl describe server own-command >described.txt
mcpctl status >status.txt
found=$(grep -rlaF -- "$token_value" "$data" "$here"/*.log "$here"/*.txt || true)
assert_eq "$found" '' 'the value stands in'

say '-- a description restarts nothing; a variable replaces one container, the new one first'
before=$(containers | sort)
mcpctl patch server own-command description='said anew' >/dev/null
expect 0 mcpctl sync --wait 60
assert_eq "$(containers | sort)" "$before"
expect 0 mcpctl patch server own-command env.PLAIN=other
expect 0 mcpctl sync --wait 60
[[ $(containers | sort) != "$before" ]] || fail 'nothing was replaced'
session_open /projects/all/mcp
env_is() { [[ $(call_text own-command__env '{"name":"PLAIN"}') == "$1" ]]; }
wait_for env_is other
one_each() { [[ $(containers | wc -l) == 6 ]]; }
wait_for one_each

say '-- what can not be: a package name is never an image, and each mistake is told with its place'
cat >bad.yaml <<'TEXT'
kind: server
name: bad
dockerImage: no-such-image-here:1
imagePullPolicy: Never
TEXT
expect 0 mcpctl apply -f bad.yaml
missing() { mcpctl status | grep -E '^bad/0 +ERROR .*no-such-image-here:1'; }
wait_for missing
printf 'kind: server\nname: worse\npackageName: x@1\nnetwork: none\n' >worse.yaml
expect 1 mcpctl apply -f worse.yaml
assert_contains "$err" 'worse.yaml:4:10'
expect 0 mcpctl delete server bad

say '-- out of service: the containers go, and only ours'
stranger=$(docker run --detach --label "mcpctl.io/cluster=$cluster-not" --entrypoint /fixture_server "$MCPCTL_TEST_FIXTURE_IMAGE" --no-stdin-wait)
mcpctl delete project all >/dev/null
for name in everything time own-command given-command over-http over-sse; do
    expect 0 mcpctl delete server "$name"
done
none() { [[ -z $(containers) ]]; }
wait_for none
[[ $(docker inspect --format '{{.State.Running}}' "$stranger") == true ]] || fail 'a container of somebody else was stopped'
docker rm --force "$stranger" >/dev/null
