#!/usr/bin/env bash
# Resources, templates, prompts, completion, subscriptions and changed lists through a project of two servers, by the
# official TypeScript SDK; and a server that is down takes nothing from the others.
source "$ROOT/tests/support/lib.sh"
needs git curl jq npx
[[ -n $MCPCTL_TEST_NODE ]] || needs a-node-that-tests-run-installs
[[ -x $MCPCTL_TEST_FIXTURE_SERVER ]] || needs the-fixture-server-that-tests-run-builds

start_mcpd
clone work
mkdir -p work/servers work/projects
cp "$ROOT/examples/repo/servers/everything.yaml" work/servers/
printf 'kind: server\nname: fixture\ncommand: ["%s"]\n' "$MCPCTL_TEST_FIXTURE_SERVER" >work/servers/fixture.yaml
printf 'kind: project\nname: both\nservers: [everything, fixture]\n' >work/projects/both.yaml
commit work 'Two servers'
push_ok work -o wait=300
assert_contains "$said" 'RUNNING server/everything 1/1'
assert_contains "$said" 'RUNNING server/fixture 1/1'

expect 0 "$MCPCTL_TEST_NODE" "$ROOT/tests/acceptance/node/resources.mjs" "$url/projects/both/mcp" "$token"
seen=$out
# is FILTER WANT: what the client saw, as compact JSON.
is() { assert_eq "$(jq -c "$1" <<<"$seen")" "$2" "$1"; }
# has LIST ENTRY...: the list holds each of them, once.
has() {
    local list=$1 entry
    shift
    for entry in "$@"; do
        assert_eq "$(jq --arg list "$list" --arg entry "$entry" '.[$list] | map(select(. == $entry)) | length' <<<"$seen")" 1 \
            "$entry in $list, times"
    done
}

say '-- what the project says it can'
is '.capabilities | [.resources.subscribe, .resources.listChanged, .prompts.listChanged, .tools.listChanged]' '[true,true,true,true]'
is '.capabilities | has("completions")' true

say '-- lists hold what both servers have: URIs as they are, prompts under the name of their server'
has resources fixture://greeting fixture://pixel demo://resource/static/document/features.md
has templates 'fixture://item/{id}' 'demo://resource/dynamic/text/{resourceId}' 'demo://resource/dynamic/blob/{resourceId}'
has prompts fixture__hello fixture__review everything__simple-prompt everything__args-prompt everything__completable-prompt \
    everything__resource-prompt
is '.prompts | map(select(startswith("fixture__") or startswith("everything__") | not))' '[]'

say '-- reading: text, binary, and what a template makes'
is '.text | [.uri, .mimeType, .text]' '["fixture://greeting","text/plain","Hello. Touched 0 times."]'
is '.binary | [.uri, .mimeType, has("text")]' '["fixture://pixel","image/png",false]'
assert_eq "$(jq -r .binary.blob <<<"$seen" | base64 -d | head -c 8 | od -An -tx1 | tr -d ' ')" 89504e470d0a1a0a 'the picture is no PNG'
is '.document | [.mimeType, (.text | length > 100)]' '["text/markdown",true]'
is '.made.text | fromjson | .id' '"of-mine"'
assert_contains "$(jq -r .madeText.text <<<"$seen")" 'Resource 7: This is a plaintext resource'
assert_contains "$(jq -r .madeBinary.blob <<<"$seen" | base64 -d)" 'Resource 7: This is a base64 blob'

say '-- prompts, with and without arguments'
is '.plain.messages | map([.role, .content.text])' '[["user","This is a simple prompt without arguments."]]'
is '.weather.messages[0].content.text' '"What'"'"'s weather in Oslo, Norway?"'
is '.embedded.messages[1].content | [.type, .resource.uri]' '["resource","demo://resource/dynamic/text/3"]'
is '.review.messages[0].content.text' '"Review this sternly: let x = 1;"'

say '-- completion, also where it depends on another argument'
is .departments '["Sales","Support"]'
is .members '["David","Eve","Frank"]'
is .ids '["12"]'

say '-- what is not there is a JSON-RPC error that names it'
is .unknown.uri.code -32002
assert_contains "$(jq -r .unknown.uri.message <<<"$seen")" 'nowhere://at/all'
is .unknown.item.code -32002
is .unknown.subscription.code -32002
is .unknown.prompt.code -32602
assert_contains "$(jq -r .unknown.prompt.message <<<"$seen")" 'everything__no-such-prompt'
is .unknown.bare.code -32602
is .unknown.argument.code -32602
is .unknown.completion.code -32602

say '-- subscriptions: told of what changed, and no more once it is taken back'
is .touched '"Hello. Touched 1 times."'
is .touchedItem 1
is .toldAfterwards 0

say '-- a changed list reaches the client'
is '[.hadAdded, .hasAdded, .added]' '[false,true,"added later"]'

# names METHOD FIELD KEY: what a list holds for a new session, a line each.
names() {
    session_open /projects/both/mcp
    mcp "$1" | jq -r --arg field "$2" --arg key "$3" '.result[$field][][$key]' | sort
}
lists() {
    names resources/list resources uri
    names resources/templates/list resourceTemplates uriTemplate
    names prompts/list prompts name
}
of_everything() { lists | grep -E '^(demo|everything__)'; }

say '-- a server that is down takes nothing from the others'
lists >whole.txt
of_everything >everything.txt
expect 0 mcpctl patch server fixture command='["/bin/false"]'
expect 3 mcpctl sync --wait 2
assert_eq "$(of_everything)" "$(<everything.txt)" 'a server that can not start changed the lists of another'
# Started anew there is nobody left who knows what the server had.
stop_mcpd
start_mcpd
down() { mcpctl status | grep -E '^fixture/0 +(ERROR|STARTING)'; }
wait_for down
others_are_there() { [[ $(lists) == "$(<everything.txt)" ]]; }
wait_for others_are_there
session_open /projects/both/mcp
assert_eq "$(mcp prompts/get '{"name":"everything__simple-prompt"}' | jq -r '.result.messages[0].content.text')" \
    'This is a simple prompt without arguments.'
assert_contains "$(mcp resources/read '{"uri":"demo://resource/dynamic/text/7"}' | jq -r '.result.contents[0].text')" 'Resource 7'
# Its own are refused, and the answer says which server is away.
assert_contains "$(mcp prompts/get '{"name":"fixture__hello"}' | jq -r .error.message)" 'server fixture'
assert_contains "$(mcp resources/read '{"uri":"fixture://greeting"}' | jq -r .error.message)" 'did not answer: fixture'

say '-- and it is whole again once that server is well'
expect 0 mcpctl patch server fixture command="[\"$MCPCTL_TEST_FIXTURE_SERVER\"]"
whole() { [[ $(lists) == "$(<whole.txt)" ]]; }
wait_for whole
