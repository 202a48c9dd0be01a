# The beginning of the script that tests/docs.rs makes of a document's console blocks: an mcpd runs, MCPCTL_URL and
# MCPCTL_TOKEN point at it, `examples/repo` stands in the working folder, and both outputs are one.
# shellcheck source=tests/support/lib.sh
source "$ROOT/tests/support/lib.sh"
needs git curl jq
start_mcpd
mkdir examples
cp -R "$ROOT/examples/repo" examples/repo
printf '\001address 127.0.0.1:%s\n' "$port"
trap - ERR
set +Eeu +o pipefail
exec 2>&1
