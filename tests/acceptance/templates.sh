#!/usr/bin/env bash
# Templates, prompts and everything that create makes: what ships is shown and can be replaced, a server made from a
# template is a server like any other, and what get prints of every kind, apply takes without a change.
source "$ROOT/tests/support/lib.sh"
needs git curl jq uvx python3

start_mcpd
clone work
# pulled: everything that the store has is in the hosted repository, and the clone is there.
pulled() {
    expect 0 mcpctl sync
    git -C work pull -q --ff-only origin main
}

say '-- what ships is shown, is no declaration, and is described'
expect 0 mcpctl get templates
for name in everything filesystem time; do
    assert_line "$out" "$name .*"
done
expect 0 mcpctl get templates -o name
assert_eq "$out" $'template/everything\ntemplate/filesystem\ntemplate/time'
expect 0 mcpctl get template time -o json
assert_eq "$(jq -r '[.kind, .name, .runtime] | join(" ")' <<<"$out")" 'template time python'
packaged=$(jq -r .packageName <<<"$out")
assert_eq "$(api GET /templates/time | jq -r .status.origin)" builtin
expect 0 mcpctl get all -o yaml
assert_lacks "$out" template
expect 0 mcpctl describe template time
assert_line "$out" 'template/time'
assert_line "$out" '  declared +nowhere: it ships with mcpd; a declaration takes its place'
assert_line "$out" '  mcpctl create server time --from-template time'
assert_contains "$out" "packageName: $packaged"
assert_eq "$(head_of_remote)" none 'what ships was committed'

say '-- a server from it runs, and its file knows nothing of the template'
expect 0 mcpctl create server t --from-template=time --wait 120
assert_line "$out" '\+ server/t'
expect 0 mcpctl get server t
assert_line "$out" 't +1/1 +RUNNING .*'
session_open /servers/t/mcp
# Of a server alone the tools have their own names.
tool=$(mcp tools/list | jq -r '.result.tools[].name | select(endswith("get_current_time"))')
assert_contains "$(call_text "$tool" '{"timezone":"Etc/UTC"}')" UTC
pulled
assert_eq "$(<work/servers/t.yaml)" "kind: server
name: t
description: Tells the time and converts it between zones
packageName: $packaged
runtime: python
args:
- --local-timezone
- Etc/UTC"
assert_eq "$(git -C work ls-files)" servers/t.yaml 'the repository holds more than the server'
assert_eq "$(git -C work log --format=%s)" 'create server/t'
assert_eq "$(git -C work log --format=%B -p | grep -ci template || true)" 0 'the template has left a trace'
expect 1 mcpctl create server t --from-template=time
assert_contains "$err" 'server/t'
expect 1 mcpctl create server u --from-template=tim
assert_contains "$err" 'template/tim'

say '-- flags change what a template says; -o yaml only shows it'
expect 0 mcpctl create server vienna --from-template=time --args=--local-timezone --args=Europe/Vienna --env TZ=Europe/Vienna \
    --description 'Time in Vienna' -o yaml
assert_eq "$out" "kind: server
name: vienna
description: Time in Vienna
packageName: $packaged
runtime: python
args:
- --local-timezone
- Europe/Vienna
env:
- name: TZ
  value: Europe/Vienna"
expect 1 mcpctl get server vienna

say '-- a template of our own: what is asked for is told with its description'
mkdir -p work/templates
cat >work/templates/greeter.yaml <<TEXT
kind: template
name: greeter
version: "3"
description: Greets
command: [python3, -IS, "$fake_server", "$mark"]
env:
  - {name: API_KEY, description: "the key, from https://keys.example.com", required: true}
  - {name: REGION, description: where it greets, required: true, defaultValue: eu}
  - {name: MOOD, description: how it greets}
TEXT
commit work 'A template'
push_ok work
assert_contains "$said" '+ template/greeter'
expect 0 mcpctl describe template greeter
assert_line "$out" '  API_KEY +yes +.*the key, from https://keys\.example\.com'
assert_line "$out" '  REGION +no +eu +where it greets'
assert_line "$out" '  mcpctl create server greeter --from-template greeter --env API_KEY=…'
assert_contains "$out" templates/greeter.yaml
expect 2 mcpctl create server g --from-template=greeter
assert_eq "$out" ''
assert_line "$err" 'error: template greeter asks for API_KEY \(the key, from https://keys\.example\.com\)'
assert_line "$err" 'hint: add --env API_KEY=….*'
assert_lacks "$err" REGION
expect 1 mcpctl get server g
expect 0 mcpctl create server g --from-template=greeter --env API_KEY=k-1 --env MOOD=glad --wait 60
assert_eq "$(mcpctl get server g -o json | jq -c '.env | map([.name, .value])')" \
    '[["API_KEY","k-1"],["REGION","eu"],["MOOD","glad"]]'
env_of() {
    session_open "/servers/$1/mcp"
    call_text env "{\"name\":\"$2\"}"
}
assert_eq "$(env_of g API_KEY) $(env_of g REGION) $(env_of g MOOD)" 'k-1 eu glad'
# A secret fills it as well.
expect 0 mcpctl create secret keys --data TOKEN=s-4711
assert_lacks "$out$err" s-4711
expect 0 mcpctl create server h --from-template=greeter --env-from API_KEY=keys/TOKEN --wait 60
assert_eq "$(env_of h API_KEY)" s-4711
# Deleting the template does nothing to what was made from it.
expect 0 mcpctl delete template greeter
wait_for converged
expect 1 mcpctl get template greeter
assert_eq "$(env_of g API_KEY)" k-1

say '-- a declaration takes the place of what ships, and gives it back'
pulled
assert_eq "$(git -C work ls-files templates)" ''
expect 1 mcpctl delete template time
assert_line "$err" 'error: .*template/time ships with mcpd and can.t be deleted'
assert_line "$err" 'hint: .+'
mkdir -p work/templates
printf 'kind: template\nname: time\ndescription: Our own time\ncommand:\n- '"'true'"'\nreplicas: 0\n' >work/templates/time.yaml
commit work 'A time of our own'
push_ok work
expect 0 mcpctl get template time -o yaml
assert_eq "$out" "$(<work/templates/time.yaml)"
assert_eq "$(mcpctl get templates -o name | grep -c '^template/time$')" 1
expect 0 mcpctl describe template time
assert_contains "$out" 'templates/time.yaml:1@'
expect 0 mcpctl create server ours --from-template time -o json
assert_eq "$(jq -c '[.command, .description]' <<<"$out")" '[["true"],"Our own time"]'
# The server made before is as it was.
assert_eq "$(mcpctl get server t -o json | jq -r .packageName)" "$packaged"
expect 0 mcpctl delete template time
expect 0 mcpctl get template time -o json
assert_eq "$(jq -r .packageName <<<"$out")" "$packaged" 'what ships is not back'
pulled
[[ ! -e work/templates/time.yaml ]] || fail 'the declaration is still there'
expect 1 mcpctl delete template time

say '-- create with a flag for each field'
expect 0 mcpctl create server flags --command "python3" --command=-IS --command "$fake_server" --command "$mark" \
    --description 'By flags' --env A=1 --env 'B=two words' --replicas 2 --set timeoutSeconds=7 --dry-run
assert_contains "$out" '+ server/flags'
expect 1 mcpctl get server flags
expect 0 mcpctl create server flags --command "python3" --command=-IS --command "$fake_server" --command "$mark" \
    --description 'By flags' --env A=1 --env 'B=two words' --replicas 2 --timeout-seconds 7 --wait 60
assert_eq "$(mcpctl get server flags -o json | jq -c '[.description, .replicas, .timeoutSeconds, (.env | map([.name, .value]))]')" \
    '["By flags",2,7,[["A","1"],["B","two words"]]]'
assert_eq "$(env_of flags B)" 'two words'
assert_line "$(mcpctl get server flags)" 'flags +2/2 +RUNNING .*'
expect 2 mcpctl create server wrong --replicas many
assert_contains "$err" '--replicas'
expect 2 mcpctl create server wrong --replica 2
assert_contains "$err" '--replicas' 'no suggestion for a slip'
expect 2 mcpctl create server wrong
assert_line "$err" 'error: .+'
expect 1 mcpctl get server wrong

say '-- prompts of two scopes'
expect 0 mcpctl create project old --servers t --servers g --description 'The old one'
expect 0 mcpctl create prompt hello --content 'Hello, everybody.' --priority 7 --tags a --tags b
expect 0 mcpctl create prompt hello -p old --content 'Hello, project.'
printf 'Line one\nLine two: # not a comment\n' >text.md
expect 0 mcpctl create prompt notes -p old --content-file text.md --summary Notes
expect 1 mcpctl create prompt hello -p old --content again
expect 1 mcpctl create prompt hello -p nowhere --content x
assert_line "$err" 'error: prompt/nowhere/hello: project: project "nowhere" is not declared'
assert_lacks "$err" '<body>' 'a fault points into a request that nobody wrote'
assert_eq "$(mcpctl get prompt hello -o json | jq -r .content)" 'Hello, everybody.'
assert_eq "$(mcpctl get prompt hello -p old -o json | jq -r '[.project, .content] | join(" ")')" 'old Hello, project.'
assert_eq "$(mcpctl get prompt/old/hello -o json | jq -r .content)" 'Hello, project.'
assert_eq "$(mcpctl get prompts -p old -o name)" $'prompt/old/hello\nprompt/old/notes'
assert_eq "$(mcpctl get prompts -o name)" $'prompt/hello\nprompt/old/hello\nprompt/old/notes'
assert_eq "$(mcpctl get prompt notes -p old -o json | jq -r .content)" "$(<text.md)"
expect 0 mcpctl patch prompt hello -p old priority=9
assert_eq "$(mcpctl get prompt hello -o json | jq .priority)" 7
assert_eq "$(mcpctl get prompt hello -p old -o json | jq .priority)" 9
pulled
assert_eq "$(git -C work ls-files prompts projects | tr '\n' ' ')" 'projects/old.yaml prompts/hello.yaml prompts/old/hello.yaml prompts/old/notes.yaml '

say '-- a project cloned: its servers and its prompts, and nothing of the old one changes'
expect 0 mcpctl create project new --clone old --description 'The new one'
assert_line "$out$err" '.*\+ project/new'
assert_eq "$(mcpctl get project new -o json | jq -c '[.description, .servers]')" '["The new one",["t","g"]]'
assert_eq "$(mcpctl get prompts -p new -o name)" $'prompt/new/hello\nprompt/new/notes'
assert_eq "$(mcpctl get prompt hello -p new -o json | jq -r '[.project, .content, .priority] | join(" ")')" 'new Hello, project. 9'
assert_eq "$(mcpctl get prompts -p old -o name)" $'prompt/old/hello\nprompt/old/notes'
assert_eq "$(mcpctl get project old -o json | jq -r .description)" 'The old one'
expect 1 mcpctl create project new --clone old
expect 1 mcpctl create project newer --clone nobody
assert_contains "$err" project/nobody
expect 0 mcpctl delete prompt hello -p new
assert_eq "$(mcpctl get prompts -o name)" $'prompt/hello\nprompt/new/notes\nprompt/old/hello\nprompt/old/notes'

say '-- get all | apply of every kind changes nothing'
mkdir -p work/templates
git -C work pull -q --ff-only origin main
printf 'kind: template\nname: own\ncommand: ["true"]\n' >work/templates/own.yaml
commit work 'A template again'
push_ok work
wait_for converged
expect 0 mcpctl sync
now=$(revision)
head=$(head_of_remote)
mcpctl get all -o yaml >all.yaml
assert_eq "$(sed -n 's/^kind: //p' all.yaml | uniq | tr '\n' ' ')" 'secret template server project prompt '
assert_lacks "$(<all.yaml)" s-4711
expect 0 mcpctl apply -f - <all.yaml
assert_contains "$out$err" "$(grep -c '^kind: ' all.yaml) unchanged"
mcpctl get all -o json >all.json
expect 0 mcpctl apply -f all.json
for kind in secrets templates servers projects prompts; do
    mcpctl get "$kind" -o yaml >kind.yaml
    expect 0 mcpctl apply -f kind.yaml
done
expect 0 mcpctl diff -f all.yaml
expect 0 mcpctl sync
assert_eq "$(revision)" "$now" 'get | apply made a revision'
assert_eq "$(head_of_remote)" "$head" 'get | apply made a commit'
assert_eq "$(env_of h API_KEY)" s-4711
