#!/usr/bin/env bash
# A remote over ssh, with a real sshd: an unknown host is refused and told how to pin it, mcpd's own key opens it once it
# was added, both directions work, and a host that changes its key is refused loudly.
source "$ROOT/tests/support/lib.sh"
PATH=$PATH:/usr/sbin:/sbin
needs git curl jq ssh-keygen sshd
git init -q --bare remote.git
for key in one two; do ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$here/host_$key"; done
ssh-keygen -q -t rsa -N '' -f "$here/host_rsa"
: >authorized_keys
# Where root starts it, sshd wants this empty folder.
[[ $(id -u) != 0 ]] || install -d -m 755 /run/sshd
ssh_port=$(free_port)

# start_sshd HOSTKEY...: on the same port as before.
start_sshd() {
    local key
    {
        printf '%s\n' "Port $ssh_port" 'ListenAddress 127.0.0.1' 'PidFile none' 'StrictModes no' 'UsePAM no' \
            'PasswordAuthentication no' 'KbdInteractiveAuthentication no' 'PermitRootLogin prohibit-password' \
            "AuthorizedKeysFile $here/authorized_keys" 'LogLevel VERBOSE'
        for key in "$@"; do printf 'HostKey %s\n' "$here/$key"; done
    } >sshd_config
    "$(command -v sshd)" -D -e -f "$here/sshd_config" >>sshd.log 2>&1 &
    sshd=$!
    started+=("$sshd")
    wait_for bash -c "exec 3<>/dev/tcp/127.0.0.1/$ssh_port"
}
stop_sshd() {
    kill "$sshd"
    wait "$sshd" 2>/dev/null || true
}
trouble() { mcpctl backup status -o json | jq -r '.lastError // ""'; }
trouble_has() { [[ $(trouble) == *"$1"* ]]; }
reachable() { [[ $(mcpctl backup status -o json | jq -r .gitReachable) == true ]]; }

start_sshd host_one host_rsa
user=$(id -un)
export MCPD_SYNC_INTERVAL=1s MCPD_REPO=ssh://$user@127.0.0.1:$ssh_port$here/remote.git
start_mcpd

say '-- an unknown host: refused, with its fingerprint and the line that pins it'
wait_for trouble_has 'is not pinned'
why=$(trouble)
assert_contains "$why" "[127.0.0.1]:$ssh_port"
fingerprint=$(ssh-keygen -l -E sha256 -f host_one.pub | cut -d' ' -f2)
line=${why##*known_hosts: }
assert_lacks "$line" '"'
assert_eq "$(grep Accepted sshd.log || true)" '' 'mcpd logged in to an unknown host'
case $line in
    *ssh-ed25519*) assert_contains "$why" "$fingerprint" ;;
    *) assert_contains "$why" "$(ssh-keygen -l -E sha256 -f host_rsa.pub | cut -d' ' -f2)" ;;
esac
run mcpctl sync
assert_eq "$status" 1
assert_contains "$err" 'is not pinned'

say '-- pinned by that line: now it wants the key'
printf '%s\n' "$line" >>"$data/known_hosts"
expect 1 mcpctl sync
assert_contains "$err" 'mcpctl backup key'

say '-- with the key it works both ways'
mcpctl backup key >>authorized_keys
expect 0 mcpctl sync
reachable
expect 0 mcpctl create server made --command true --replicas 0
wait_for git -C remote.git cat-file -e main:servers/made.yaml
git clone -q remote.git work
idle work/servers/pushed.yaml pushed one
commit work 'A server'
git -C work push -q origin HEAD:main
expect 0 mcpctl sync
expect 0 mcpctl get server pushed

say '-- a hashed name, and a key of another kind than the one that is usually taken'
printf '[127.0.0.1]:%s %s\n' "$ssh_port" "$(cut -d' ' -f1,2 host_rsa.pub)" >"$data/known_hosts"
expect 0 mcpctl sync
ssh-keygen -q -H -f "$data/known_hosts" 2>/dev/null
assert_lacks "$(<"$data/known_hosts")" 127.0.0.1
expect 0 mcpctl sync

say '-- the server goes away and comes back: both directions go on'
stop_sshd
unreachable() { ! reachable; }
wait_for unreachable
expect 0 mcpctl patch server made description=during
start_sshd host_one host_rsa
expect 0 mcpctl sync
has_change() { git -C remote.git show main:servers/made.yaml | grep -q during; }
wait_for has_change

say '-- another host key: refused loudly, nothing is read or written'
stop_sshd
printf '[127.0.0.1]:%s %s\n' "$ssh_port" "$(cut -d' ' -f1,2 host_one.pub)" >"$data/known_hosts"
start_sshd host_two
wait_for trouble_has 'HAS CHANGED'
assert_contains "$(trouble)" "$(ssh-keygen -l -E sha256 -f host_two.pub | cut -d' ' -f2)"
accepted=$(grep -c Accepted sshd.log)
expect 1 mcpctl sync
assert_eq "$(grep -c Accepted sshd.log)" "$accepted" 'mcpd logged in to a host that shows another key'
