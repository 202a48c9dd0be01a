#!/usr/bin/env bash
# A watched folder under everything that editors and people do to one: each way of saving is one plan, a storm of files is
# a few, nothing half saved is taken for a deletion, a folder that goes and comes back is waited for, and what other doors
# change is written back once. MCPCTL_LONG=1 adds 100,000 files.
source "$ROOT/tests/support/lib.sh"
needs git curl jq python3 sed

count=20
storm=1000

mkdir -p repo/servers
for ((n = 0; n < count; n++)); do
    printf '# server %s\nkind: server\nname: s-%s\ndescription: start   # of %s\ncommand: ["true"]\nreplicas: 0\n' \
        "$n" "$n" "$n" >"repo/servers/s-$n.yaml"
done

# start_dev [COMMAND...]: sets dev, url and token. MORE is put before it, as an env or unshare.
start_dev() {
    port=$(free_port)
    url=http://127.0.0.1:$port
    "$@" mcpctl dev "$here/repo" --listen "127.0.0.1:$port" >>dev.log 2>&1 </dev/null &
    dev=$!
    started+=("$dev")
    wait_for curl -sf -o /dev/null "$url/readyz"
    token=$(<repo/.mcpctl/local/admin.token)
    export MCPCTL_URL=$url MCPCTL_TOKEN=$token
}

revisions() { api GET /status | jq .revision; }
declared() { api GET /servers | jq '.items | length'; }
declared_is() { [[ $(declared) == "$1" ]]; }
description() { api GET "/servers/$1" | jq -r .resource.description; }
description_is() { [[ $(description "$1") == "$2" ]]; }
held_is() { [[ $(api GET /status | jq '.held | length') == "$1" ]]; }
# Nothing went since the log's mark.
mark_log() { logged=$(($(wc -c <dev.log) + 1)); }
since() { tail -c "+$logged" dev.log; }
nothing_went() { ! since | grep -q '^  - ' || fail "$1: something was deleted: $(since | grep '^  - ' | head -n 3)"; }

start_dev env
wait_for declared_is "$count"

say '-- each way of saving is one plan'
cat >save.py <<'PYTHON'
"""The system calls of editors that save: save.py HOW FILE TEXT."""
import os, sys, time
how, path, text = sys.argv[1], sys.argv[2], open(sys.argv[3]).read()
folder, name = os.path.split(path)
def write(to, text, pause=0.0, cut=None):
    with open(to, 'w') as file:
        if pause:
            time.sleep(pause)
        if cut is not None:
            file.write(text[:cut]); file.flush(); time.sleep(0.1); file.write(text[cut:])
        else:
            file.write(text)
        file.flush(); os.fsync(file.fileno())
if how == 'emacs':
    lock = os.path.join(folder, '.#' + name)
    os.symlink('ada@host.123:456', lock)
    write(os.path.join(folder, '#' + name + '#'), text)
    os.rename(path, path + '~')
    write(path, text)
    os.unlink(os.path.join(folder, '#' + name + '#')); os.unlink(lock)
elif how == 'code':
    write(path, text, pause=0.05)
elif how == 'slow':
    # Emptied, and then nothing for longer than any second look takes.
    write(path, text, pause=2.0)
elif how == 'cut':
    write(path, text, cut=text.index('command') + 9)
elif how == 'atomic':
    temporary = os.path.join(folder, '.' + name + '.tmp123')
    write(temporary, text); os.rename(temporary, path)
elif how == 'visible':
    temporary = os.path.join(folder, name + '.tmp.123')
    write(temporary, text); os.rename(temporary, path)
elif how == 'unlink':
    os.unlink(path); write(path, text)
elif how == 'touch':
    write(path, text)
    for _ in range(20):
        os.utime(path); os.chmod(path, 0o644); time.sleep(0.01)
elif how == 'vim':
    # With a backup: the name that it tries first, the old file aside, the new one in its place, the old one gone.
    swap = os.path.join(folder, '.' + name + '.swp')
    open(swap, 'w').close()
    open(os.path.join(folder, '4913'), 'w').close(); os.unlink(os.path.join(folder, '4913'))
    os.rename(path, path + '~'); write(path, text); os.unlink(path + '~'); os.unlink(swap)
else:
    sys.exit('unknown')
PYTHON
ways=(emacs code slow cut atomic visible unlink touch vim sed)
if command -v vim >/dev/null 2>&1; then ways+=(real-vim-rename real-vim-write); fi
for way in "${ways[@]}"; do
    file=repo/servers/s-3.yaml
    sed "s/^description: [^ ]*/description: by-$way/" "$file" >new.txt
    before=$(revisions)
    mark_log
    case $way in
        sed) sed -i "s/^description: [^ ]*/description: by-$way/" "$file" ;;
        real-vim-rename) vim -es -u NONE -c 'set backup backupcopy=no' -c "%s/^description: [^ ]*/description: by-$way/" -c wq "$file" </dev/null ;;
        real-vim-write) vim -es -u NONE -c 'set backup backupcopy=yes' -c "%s/^description: [^ ]*/description: by-$way/" -c wq "$file" </dev/null ;;
        *) python3 save.py "$way" "$file" new.txt ;;
    esac
    wait_for description_is s-3 "by-$way"
    # What was left beside it, or comes late, is no further change.
    sleep 0.5
    mcpctl sync >/dev/null
    assert_eq "$(($(revisions) - before))" 1 "saving like $way is not one change"
    assert_eq "$(declared)" "$count" "saving like $way"
    nothing_went "$way"
    assert_eq "$(since | grep -c '^plan ')" 1 "saving like $way is not one plan"
    rm -f "$file~"
done

say '-- an emptied file, a merge marker and half a file hold, and let go'
for hold in empty marker half; do
    before=$(revisions)
    mark_log
    cp repo/servers/s-4.yaml saved.yaml
    case $hold in
        empty) : >repo/servers/s-4.yaml ;;
        marker) printf '<<<<<<< mine\n%s\n=======\n%s\n>>>>>>> theirs\n' "$(<saved.yaml)" "$(<saved.yaml)" >repo/servers/s-4.yaml ;;
        half) head -c 40 saved.yaml >repo/servers/s-4.yaml ;;
    esac
    wait_for held_is 1
    expect 3 mcpctl status --check
    sleep 1
    mcpctl sync >/dev/null
    assert_eq "$(revisions)" "$before" "$hold changed something"
    assert_eq "$(declared)" "$count" "$hold deleted something"
    since | grep -q '^held: server/s-4 (servers/s-4.yaml' || fail "$hold is not told: $(since)"
    cp saved.yaml repo/servers/s-4.yaml
    wait_for held_is 0
    assert_eq "$(revisions)" "$before"
    nothing_went "$hold"
done
since | grep -c 'all files can be read again' >/dev/null

say "-- a storm of $storm files, then of as many changes in place"
before=$(revisions)
mark_log
python3 - "$storm" <<'PYTHON'
import os, sys
os.makedirs('repo/storm/deep', exist_ok=True)
for n in range(int(sys.argv[1])):
    path = f'repo/storm/{"deep/" if n % 2 else ""}x-{n}.yaml'
    # In pieces, as a program that is not careful writes.
    with open(path, 'w') as file:
        for piece in ('kind: server\n', f'name: x-{n}\n', 'description: one\n', 'command: ["true"]\nreplicas: 0\n'):
            file.write(piece); file.flush()
PYTHON
wait_for declared_is $((count + storm))
nothing_went 'the storm'
plans_new=$(since | grep -c '^plan ' || true)
before=$(revisions)
mark_log
sed -i 's/^description: one/description: two/' repo/storm/*.yaml repo/storm/deep/*.yaml
all_two() { [[ $(api GET /servers | jq '[.items[].resource | select(.description == "two")] | length') == "$storm" ]]; }
wait_for all_two
assert_eq "$(declared)" $((count + storm))
nothing_went 'the changes'
plans_changed=$(since | grep -c '^plan ' || true)
python3 - <<'PYTHON'
import glob
for path in glob.glob('repo/storm/**/*.yaml', recursive=True):
    text = open(path).read().replace('two', 'three')
    with open(path, 'w') as file:
        file.write(text)
PYTHON
all_three() { [[ $(api GET /servers | jq '[.items[].resource | select(.description == "three")] | length') == "$storm" ]]; }
wait_for all_three
nothing_went 'the changes in place'
say "plans: $plans_new for new files, $plans_changed for changed ones"
((plans_new <= 10 && plans_changed <= 10)) || fail 'a storm is many plans'

say '-- folders that are made and moved with files in them'
before=$(revisions)
mark_log
mkdir -p side/one/two
printf 'kind: server\nname: moved\ndescription: one\ncommand: ["true"]\nreplicas: 0\n' >side/one/two/moved.yaml
mv side/one repo/one
wait_for description_is moved one
mv repo/one repo/servers/elsewhere
mcpctl sync >/dev/null
sed -i 's/one/two/' repo/servers/elsewhere/two/moved.yaml
wait_for description_is moved two
nothing_went 'a move'
assert_eq "$(($(revisions) - before))" 2 'a move is a change'

say '-- the folder goes and comes back'
mark_log
total=$((count + storm + 1))
cp -R repo backup
rm -rf backup/.mcpctl
# The data of `dev` lies in it, so what goes is everything else, in one step and in many.
mkdir away
for step in one many; do
    if [[ $step == one ]]; then
        mv repo/servers repo/storm away/
        sleep 1
        mv away/servers away/storm repo/
    else
        rm -rf repo/storm
        cp -R backup/storm repo/storm
    fi
    mcpctl sync >/dev/null
    sleep 1
    mcpctl sync >/dev/null
    assert_eq "$(declared)" "$total" "gone in $step step"
done
nothing_went 'going and coming back'
kill -TERM "$dev"
wait_for gone "$dev"

data=$here/data
rm -rf repo
cp -R backup repo
start_mcpd --watch "$here/repo"
wait_for declared_is "$total"
before=$(revisions)
waits() { api GET /status | jq -e '.source.lastError // "" | contains("is not there")'; }
mv repo elsewhere
WAIT=150 wait_for waits
assert_eq "$(declared)" "$total" 'a folder that is not there declares nothing'
expect 0 mcpctl patch server s-1 description=meanwhile
cp -R elsewhere repo.new
sed -i 's/^description: [^ ]*/description: anew/' repo.new/servers/s-2.yaml
mv repo.new repo
wait_for description_is s-2 anew
wait_for grep -q '^description: meanwhile   # of 1$' repo/servers/s-1.yaml
sed -i 's/^description: [^ ]*/description: again/' repo/servers/s-2.yaml
wait_for description_is s-2 again
assert_eq "$(declared)" "$total"
# Another one in its place, at once.
cp -R repo repo.new
sed -i 's/^description: [^ ]*/description: swapped/' repo.new/servers/s-2.yaml
mv repo repo.old && mv repo.new repo
wait_for description_is s-2 swapped
sed -i 's/^description: [^ ]*/description: watched/' repo/servers/s-2.yaml
wait_for description_is s-2 watched
assert_eq "$(declared)" "$total"

say '-- what other doors change is written once, and nothing answers itself'
wait_for same
cp repo/servers/s-5.yaml want.yaml
sed -i 's/^description: [^ ]*/description: by-mcpctl/' want.yaml
before=$(revisions)
expect 0 mcpctl patch server s-5 description=by-mcpctl
wait_for cmp -s want.yaml repo/servers/s-5.yaml
for n in 1 2 3; do mcpctl sync >/dev/null; sleep 0.3; done
assert_eq "$(($(revisions) - before))" 1 'its own write came back as a change'
expect 0 mcpctl delete server s-6
wait_for test ! -e repo/servers/s-6.yaml
expect 0 mcpctl status --check
stop_mcpd

say '-- watches run out'
if unshare -Ur true 2>/dev/null && unshare -Ur sh -c 'echo 2 >/proc/sys/user/max_inotify_watches' 2>/dev/null; then
    : >mcpd.log
    cat >few.sh <<'SH'
echo 2 >/proc/sys/user/max_inotify_watches
exec "$@"
SH
    mcpd() { exec unshare -Ur sh few.sh "$BIN/mcpd" "$@"; }
    export MCPD_RECONCILE_INTERVAL=1s
    data=$here/data2
    start_mcpd --watch "$here/repo"
    unset -f mcpd
    wait_for grep -q "can't be watched: changes in it are found by looking now and then.*max_user_watches" mcpd.log
    assert_eq "$(grep -c "can't be watched" mcpd.log)" 1 'it is told once'
    sed -i 's/^description: [^ ]*/description: looked/' repo/servers/elsewhere/two/moved.yaml
    wait_for description_is moved looked
    stop_mcpd
    unset MCPD_RECONCILE_INTERVAL
else
    say 'no user namespace here: not tried'
fi

summary=$(jq -n --argjson storm "$storm" --argjson created "$plans_new" --argjson changed "$plans_changed" --argjson ways "${#ways[@]}" \
    '{what: "a watched folder: ways to save, a storm of files", waysToSave: $ways, files: $storm, plansForNewFiles: $created, plansForChangedFiles: $changed, deletedByMistake: 0}')
say "$summary"
if [[ -n ${MCPCTL_LONG:-} ]]; then
    say '-- 100,000 files'
    python3 - <<'PYTHON'
import os
for n in range(100_000):
    folder = f'huge/f-{n // 1000}'
    if n % 1000 == 0:
        os.makedirs(folder)
    with open(f'{folder}/h-{n}.yaml', 'w') as file:
        file.write(f'kind: server\nname: h-{n}\ndescription: one\ncommand: ["true"]\nreplicas: 0\n')
PYTHON
    data=$here/data3
    begun=$(date +%s%N)
    start_mcpd --watch "$here/huge"
    in_force() { [[ $(api GET /status | jq .resources) == 100000 ]]; }
    WAIT=900 wait_for in_force
    first=$((($(date +%s%N) - begun) / 1000000))
    begun=$(date +%s%N)
    sed -i 's/one/two/' huge/f-50/h-50500.yaml
    wait_for description_is h-50500 two
    change=$((($(date +%s%N) - begun) / 1000000))
    resident=$(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$mcpd/status")
    summary=$(jq --argjson first "$first" --argjson change "$change" --argjson resident "$resident" \
        '. + {hugeFiles: 100000, hugeFirstMilliseconds: $first, hugeChangeMilliseconds: $change, hugeResidentMiB: $resident}' <<<"$summary")
    say "$summary"
    mkdir -p "$ROOT/docs/proof"
    printf '%s\n' "$summary" >"$ROOT/docs/proof/folder_storm.json"
fi
