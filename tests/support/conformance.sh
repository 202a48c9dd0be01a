# What the scripts share that run the official conformance suite. Sourced after lib.sh.

# shellcheck disable=SC2034,SC2154
fixture=$ROOT/tests/fixtures/conformance
suite=$MCPCTL_TEST_NODE_MODULES/@modelcontextprotocol/conformance/dist/index.js
needs git curl jq
[[ -n $MCPCTL_TEST_NODE && -f $suite ]] || needs the-conformance-suite-that-tests-run-installs

# background NAME COMMAND...: started, and ended with the script; its first line, a port, in $port_of_it.
background() {
    local name=$1
    shift
    "$@" >"$here/$name.out" 2>"$here/$name.log" </dev/null &
    started+=("$!")
    has_line() { [[ -s $here/$name.out ]]; }
    wait_for has_line
    port_of_it=$(head -n 1 "$here/$name.out")
}

# verdict NAME: of a run whose output is NAME.txt, what failed though it is not in its baseline, and what passed though it is.
verdict() { sed 's/\x1b\[[0-9;]*m//g' "$here/$1.txt" | sed -n '/^=== .*SUMMARY/,$p'; }

# conforms NAME WHAT REVISION SCENARIOS TARGET [UNSCORED...]: the suite's scenarios that REVISION requires of WHAT: of a server,
# whose URL is TARGET, or of a client, which is the command TARGET. Nothing may fail but what the baseline NAME.yaml lists,
# and all of that must. SCENARIOS is how many are required. Of those that are run and not required exactly UNSCORED fail.
conforms() {
    local name=$1 what=$2 revision=$3 scenarios=$4 target=$5 code required failing passing option=--url
    shift 5
    [[ $what == server ]] || option=--command
    code=0
    "$MCPCTL_TEST_NODE" "$suite" "$what" "$option" "$target" --requirements "$revision" \
        --expected-failures "$fixture/baseline/$name.yaml" >"$here/$name.txt" 2>&1 || code=$?
    ((code == 0)) || fail "$name: the suite ended with $code"$'\n'"$(verdict "$name")"
    # A suite that runs less than it did passes too.
    required=$("$MCPCTL_TEST_NODE" "$suite" list --requirements "$revision" |
        sed -n "/^${what^} scenarios/,/^\$/s/^  - \([^ ]*\).*/\1/p")
    assert_eq "$(wc -l <<<"$required")" "$scenarios" "$name: scenarios that $revision requires of a $what"
    failing=$(verdict "$name" | sed -n 's/^✗ \([^ ]*\): .*/\1/p' | grep -vxF "$required" | LC_ALL=C sort | tr '\n' ' ' || true)
    assert_eq "$failing" "$(printf '%s\n' "$@" | LC_ALL=C sort | sed '/^$/d' | tr '\n' ' ')" "$name: what is not required and fails"
    passing=$(verdict "$name" | sed -n 's/^✓ \([^ ]*\): .*/\1/p' | grep -cxF "$required" || true)
    say "$name: $passing of $scenarios"
}
