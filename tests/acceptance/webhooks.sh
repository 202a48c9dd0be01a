#!/usr/bin/env bash
# Webhooks of git servers, and the runs that they are answered with: signatures, what is passed over, many at once, a crash
# in between. Signatures are made by Python's hmac, so by other code than the one that judges them.
source "$ROOT/tests/support/lib.sh"
needs curl jq python3

secret="It's a Secret to Everybody"
export MCPD_WEBHOOK_SECRET=$secret
mkdir -p repo/servers bodies
idle repo/servers/a.yaml a one
start_mcpd --watch "$here/repo"
hooks=$url/git/webhook

# ---- bodies as git servers send them ---------------------------------------------------------------------------------
python3 - bodies <<'PYTHON'
import json, pathlib, sys, urllib.parse

folder = pathlib.Path(sys.argv[1])
commit = {"id": "bffeb74224043ba2feb48d137756c8a9331c449a", "message": "Wörds & more\n", "added": [], "removed": [],
          "modified": ["servers/a.yaml"], "author": {"name": "Ada", "email": "ada@example.com", "username": "ada"}}
github = {"ref": "refs/heads/main", "before": "28e1879d029cb852e4844d9c718537df08844e03", "after": commit["id"],
          "repository": {"id": 1, "full_name": "ada/config", "private": True, "owner": {"name": "ada", "login": "ada"}},
          "pusher": {"name": "ada", "email": "ada@example.com"}, "sender": {"login": "ada", "id": 1, "type": "User"},
          "created": False, "deleted": False, "forced": False, "base_ref": None, "commits": [commit], "head_commit": commit}
gitea = {"ref": "refs/heads/main", "before": github["before"], "after": commit["id"], "compare_url": "", "total_commits": 1,
         "commits": [commit], "head_commit": commit, "repository": {"id": 140, "owner": {"id": 1, "login": "ada"}},
         "pusher": {"id": 1, "login": "grace", "username": "grace"}, "sender": {"id": 1, "login": "grace"}}
gitlab = {"object_kind": "push", "event_name": "push", "before": github["before"], "after": commit["id"],
          "ref": "refs/heads/main", "ref_protected": True, "checkout_sha": commit["id"], "message": None, "user_id": 4,
          "user_name": "Barbara", "user_username": "barbara", "project_id": 15, "commits": [commit],
          "total_commits_count": 1, "push_options": {"ci": {"skip": True}}}
bitbucket = {"actor": {"nickname": "jean", "display_name": "Jean"}, "repository": {"name": "config"}, "push": {"changes": [
    {"new": {"type": "branch", "name": "main"}, "old": {"type": "branch", "name": "main"}, "created": False}]}}
def write(name, value):
    (folder / name).write_bytes(json.dumps(value, ensure_ascii=False).encode())
write("github", github)
write("github-branch", {**github, "ref": "refs/heads/feature\u001b[31m/x"})
write("github-tag", {**github, "ref": "refs/tags/v1", "base_ref": "refs/heads/main"})
write("github-ping", {"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {"type": "Repository"}})
write("gitea", gitea)
write("gitlab", gitlab)
write("bitbucket", bitbucket)
(folder / "form").write_bytes(b"payload=" + urllib.parse.quote_plus(json.dumps(github)).encode())
(folder / "broken").write_bytes(b'{"ref": "refs/heads/main"')
write("large", {**github, "padding": "x" * (20 << 20)})
write("too-large", {**github, "padding": "x" * (26 << 20)})
PYTHON

# hex BODY [SECRET]: the HMAC-SHA-256 of a body.
hex() {
    python3 -c 'import hashlib, hmac, sys
print(hmac.new(sys.argv[2].encode(), open(sys.argv[1], "rb").read(), hashlib.sha256).hexdigest())' "bodies/$1" "${2:-$secret}"
}

# hook BODY HEADER...: sends a body; the status in $code, the answer in $said.
hook() {
    local payload=$1 headers=(-H "Content-Type: ${kind:-application/json}") header
    shift
    for header in "$@"; do
        headers+=(-H "$header")
    done
    code=$(curl -sS -o "$here/.said" -w '%{http_code}' -X POST "${headers[@]}" \
        --data-binary "@bodies/$payload" "$hooks")
    said=$(<"$here/.said")
}

# accepted: the last hook was answered with a run, which is over soon; its id in $run.
accepted() {
    assert_eq "$code" 202 "$said"
    run=$(jq -er .run <<<"$said")
    wait_for over "$run"
}
over() { api GET "/runs/$1" | jq -e '.state == "done"'; }
field() { api GET "/runs/$run" | jq -r "$1"; }

# ---- every server's signature ----------------------------------------------------------------------------------------
push=('X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex github)" 'X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958')
hook github "${push[@]}"
accepted
assert_eq "$(field '.causes[0] | .trigger, .by')" $'webhook github\nada'
hook github "${push[@]}"
accepted
assert_eq "$(field .imported)" 0 'a delivery that is sent again does nothing'
hook gitea 'X-GitHub-Event: push' 'X-Gitea-Event: push' "X-Gitea-Signature: $(hex gitea)" \
    "X-Hub-Signature-256: sha256=$(hex gitea)"
accepted
assert_eq "$(field '.causes[0] | .trigger, .by')" $'webhook gitea\ngrace'
hook gitea 'X-Forgejo-Event: push' 'X-Gitea-Event: push' "X-Forgejo-Signature: $(hex gitea)" "X-Gitea-Signature: $(hex gitea)"
accepted
assert_eq "$(field '.causes[0].trigger')" 'webhook forgejo'
hook gitlab 'X-Gitlab-Event: Push Hook' "X-Gitlab-Token: $secret"
accepted
assert_eq "$(field '.causes[0] | .trigger, .by')" $'webhook gitlab\nbarbara'
hook bitbucket 'X-Event-Key: repo:push' "X-Hub-Signature: sha256=$(hex bitbucket)"
accepted
assert_eq "$(field '.causes[0] | .trigger, .by')" $'webhook bitbucket\njean'
kind=application/x-www-form-urlencoded hook form 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex form)"
accepted
hook large 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex large)"
accepted
# GitLab's signing token: the id and the time are signed too.
signed=$(python3 -c 'import base64, hashlib, hmac, sys
body = b"msg_1.1614265330." + open(sys.argv[1], "rb").read()
print(base64.b64encode(hmac.new(sys.argv[2].encode(), body, hashlib.sha256).digest()).decode())' bodies/gitlab "$secret")
standard=('X-Gitlab-Event: Push Hook' 'webhook-id: msg_1' "webhook-signature: v1,$signed")
hook gitlab "${standard[@]}" 'webhook-timestamp: 1614265330'
accepted
hook gitlab "${standard[@]}" 'webhook-timestamp: 1614265331'
assert_eq "$code" 401

# ---- what no run follows ---------------------------------------------------------------------------------------------
before=$(mcpctl get runs -o json | jq length)
hook github-ping 'X-GitHub-Event: ping' "X-Hub-Signature-256: sha256=$(hex github-ping)"
assert_eq "$code $said" '200 {"ping":"mcpd looks when branch main is pushed"}'
hook github-branch 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex github-branch)"
assert_eq "$code $(jq -r .ignored <<<"$said")" '200 branch feature [31m/x'
hook github-tag 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex github-tag)"
assert_eq "$code $said" '200 {"ignored":"refs/tags/v1"}'
hook github 'X-GitHub-Event: issues' "X-Hub-Signature-256: sha256=$(hex github)"
assert_eq "$code $said" '200 {"ignored":"event issues"}'
hook broken 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex broken)"
assert_eq "$code $(jq -r .error <<<"$said")" '400 bad_request'
hook broken 'X-GitHub-Event: push' 'X-Hub-Signature-256: sha256=00'
assert_eq "$code" 401 'a body is parsed before its signature is known'
for headers in 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex github another)" "X-Hub-Signature-256: $(hex github)" \
    'X-Hub-Signature: sha1=0000000000000000000000000000000000000000' 'X-Gitlab-Token: x' "X-Gitea-Signature: $(hex gitea)" \
    "Authorization: Bearer $token"; do
    hook github 'X-GitHub-Event: push' "$headers"
    assert_eq "$code $(jq -r .error <<<"$said")" '401 not_signed' "$headers"
done
hook too-large "${push[@]}"
assert_eq "$code $(jq -r .error <<<"$said")" '413 too_large'
hook too-large 'X-GitHub-Event: push' "X-Hub-Signature-256: sha256=$(hex too-large)" 'Transfer-Encoding: chunked'
assert_eq "$code $(jq -r .error <<<"$said")" '413 too_large'
hook github "${push[@]}" 'Host: evil.example'
assert_eq "$code $(jq -r .error <<<"$said")" '403 host_refused'
assert_eq "$(curl -sS -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" "$hooks")" 404
assert_eq "$(mcpctl get runs -o json | jq length)" "$before" 'a run followed'
# Refusals of strangers are in the audit: one a second at most, the others counted.
refusals=$(api GET /audit/events | jq -r '.items[] | select(.door == "webhook") | "\(.actor) \(.decision) \(.action)"')
assert_line "$refusals" 'anonymous denied /git/webhook( \(and [0-9]+ more\))?'

# ---- many at once: each push is seen, each id is known ---------------------------------------------------------------
before=$(api GET /runs | jq -r '.items[-1].id')
signature="X-Hub-Signature-256: sha256=$(hex github)"
for n in {1..30}; do
    curl -sS -X POST -H 'X-GitHub-Event: push' -H "$signature" --data-binary @bodies/github -o "$here/answer.$n" "$hooks" &
    senders+=("$!")
done
wait "${senders[@]}"
cat answer.* | jq -er .run | sort -un >ids
settled() { api GET /runs | jq -e 'all(.items[]; .state == "done")'; }
wait_for settled
asks=$(api GET /runs | jq --argjson before "$before" '[.items[] | select((.id | tonumber) > $before) | .asks] | add')
assert_eq "$asks" 30 'how often runs were asked for'
api GET /runs | jq -r '.items[].id' | sort -un >known
assert_eq "$(comm -23 <(sort ids) <(sort known))" '' 'ids that no run has'
say "30 webhooks at once: $(wc -l <ids) runs"
for n in {1..15}; do
    idle repo/servers/a.yaml a "push $n"
    hook github "${push[@]}"
    accepted
    assert_eq "$(mcpctl get server a -o json | jq -r .description)" "push $n" 'a push that no look followed'
done

# ---- mcpctl ----------------------------------------------------------------------------------------------------------
idle repo/servers/b.yaml b new
expect 0 mcpctl sync --allow-mass-delete -o json
run=$(jq -er .run <<<"$out")
assert_eq "$(jq -r '.look.id, .look.causes[0].trigger, .look.causes[0].by' <<<"$out")" "$run"$'\nsync\nadmin'
assert_eq "$err" 'note: nothing waits for --allow-mass-delete: it was passed over'
wait_for mcpctl get server b
expect 0 mcpctl sync --wait
assert_line "$out" 'run        [0-9]+ done: nothing to do'
expect 0 mcpctl get runs
assert_line "$out" '[0-9]+ +done +webhook bitbucket +jean +.*nothing to do'
expect 0 mcpctl get run "$run"
assert_eq "$(wc -l <<<"$out")" 2
expect 0 mcpctl get run "$run" -o yaml
assert_line "$out" 'state: done'
expect 0 mcpctl describe run "$run"
assert_line "$out" '  trigger     sync by admin'
expect 1 mcpctl describe run 99999
assert_line "$err" 'error: .*run 99999 is not known.*'
expect 1 mcpctl get run 99999

# ---- a crash between the answer and the look -------------------------------------------------------------------------
for n in {1..5}; do
    idle repo/servers/a.yaml a "crash $n"
    hook github "${push[@]}"
    stop_mcpd KILL
    assert_eq "$code" 202
    run=$(jq -er .run <<<"$said")
    start_mcpd --watch "$here/repo"
    hooks=$url/git/webhook
    api GET "/runs/$run" | jq -e '.state == "done" or (.state == "failed" and (.reason | startswith("mcpd ended")))' >/dev/null ||
        fail "the run of before the crash: $(api GET "/runs/$run")"
    assert_eq "$(mcpctl get server a -o json | jq -r .description)" "crash $n"
done
# The restarts made runs of their own or none, and never gave an id again.
assert_eq "$(api GET /runs | jq -r '[.items[].id | tonumber] | length == (unique | length)')" true
assert_lacks "$(<mcpd.log)" "$secret" 'the secret is in the log'
expect 0 mcpd --print-settings
assert_line "$out" 'MCPD_WEBHOOK_SECRET +\*\*\* +environment'

# ---- where webhooks make no sense ------------------------------------------------------------------------------------
stop_mcpd
MCPD_WEBHOOK_SECRET='' start_mcpd --watch "$here/repo"
hooks=$url/git/webhook
hook github "${push[@]}"
assert_eq "$code" 404
assert_contains "$(jq -r .hint <<<"$said")" MCPD_WEBHOOK_SECRET
stop_mcpd
data=$here/hosted
start_mcpd
hooks=$url/git/webhook
hook github "${push[@]}"
assert_eq "$code $(jq -r .error <<<"$said")" '409 no_remote'
# A push tells of itself, with who pushed.
clone work
idle work/servers/a.yaml a one
commit work 'A server'
push_ok work
newest() { api GET /runs | jq -r '.items[-1] | "\(.causes[0].trigger) by \(.causes[0].by): imported \(.imported)"'; }
pushed() { [[ $(newest) == 'push by admin: imported 1' ]]; }
wait_for pushed
mcpctl patch server a description=two
edited() { api GET /runs | jq -e '.items[-1] | .causes[0] == {trigger: "edit", by: "admin"} and .exported == 1'; }
wait_for edited
