#!/usr/bin/env bash
# Two daemons on one engine leave each other alone, also where one is wiped, and where both declare the same names.
source "$ROOT/tests/support/lib.sh"
needs git curl jq docker
docker_cluster
first_cluster=$cluster

say '-- the first'
data=$here/first start_mcpd
first=$mcpd first_url=$url first_token=$token
clone one
mkdir -p one/servers
printf 'kind: server\nname: same\ndockerImage: %s\nreplicas: 2\n' "$MCPCTL_TEST_FIXTURE_IMAGE" >one/servers/same.yaml
commit one 'The same name'
push_ok one -o wait=60
of() { docker ps --all --quiet --no-trunc --filter "label=mcpctl.io/cluster=$1" | sort; }
running=$(of "$first_cluster")
assert_eq "$(wc -l <<<"$running")" 2

say '-- the second, with a cluster of its own made from its data folder'
unset MCPD_CLUSTER
data=$here/second
start_mcpd
second_cluster=$(mcpctl status -o json | jq -r .cluster)
[[ $second_cluster != "$first_cluster" ]] || fail 'both have one cluster'
assert_line "$second_cluster" '[0-9a-f]{8}'
# Both are cleaned up at the end.
trap 'cluster=$second_cluster; docker_clean; cluster=$first_cluster; on_exit' EXIT
clone two
mkdir -p two/servers
cp one/servers/same.yaml two/servers/
commit two 'The same name elsewhere'
push_ok two -o wait=60
theirs=$(of "$second_cluster")
assert_eq "$(wc -l <<<"$theirs")" 2
assert_eq "$(of "$first_cluster")" "$running"

say '-- the second deletes its server and is wiped: the first does not notice'
expect 0 mcpctl delete server same
none() { [[ -z $(of "$second_cluster") ]]; }
wait_for none
assert_eq "$(of "$first_cluster")" "$running"
stop_mcpd KILL
rm -rf "$here/second"
data=$here/second start_mcpd
expect 0 mcpctl sync
assert_eq "$(of "$first_cluster")" "$running" 'an empty daemon touched what is not its own'
assert_eq "$(mcpctl status -o json | jq -r .cluster)" "$second_cluster" 'the id of the cluster did not survive the wipe'

say '-- the first goes on'
export MCPCTL_URL=$first_url MCPCTL_TOKEN=$first_token
expect 0 mcpctl status --check
kill -0 "$first"
