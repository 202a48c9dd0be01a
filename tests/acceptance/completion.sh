#!/usr/bin/env bash
# Completion in real shells, with live names: loaded twice nothing doubles, and without an mcpd it is quick and silent.
source "$ROOT/tests/support/lib.sh"
needs curl jq
start_mcpd
for name in alpha alphabet beta; do
    idle "$name.yaml" "$name" x
    expect 0 mcpctl apply -f "$name.yaml"
done

# in_bash WORD...: what bash offers for the last word.
cat >complete.bash <<'TEXT'
source <(mcpctl completion bash)
source <(mcpctl completion bash)
COMP_WORDS=(mcpctl "$@")
COMP_CWORD=$#
_mcpctl
printf '%s\n' "${COMPREPLY[@]}"
TEXT
in_bash() { bash complete.bash "$@"; }
assert_eq "$(in_bash get server al)" $'alpha\nalphabet'
assert_eq "$(in_bash describe servers b)" beta
assert_line "$(in_bash bac)" backup
assert_line "$(in_bash backup '')" identity
assert_line "$(in_bash get --wat)" --watch
assert_line "$(in_bash create server x --from-template '')" time
assert_line "$(in_bash schema se)" server
assert_line "$(in_bash validate -o '')" sarif
assert_line "$(in_bash import x --format '')" vscode
assert_eq "$(in_bash get nonsense '')" ''

if command -v fish >/dev/null; then
    offered=$(fish --no-config -c 'mcpctl completion fish | source; mcpctl completion fish | source; complete -C "mcpctl get server al"' | cut -f1)
    assert_eq "$offered" $'alpha\nalphabet' 'fish'
fi
if command -v zsh >/dev/null; then
    zsh -fc 'autoload -Uz compinit && compinit -u -d ./zcompdump && source <(mcpctl completion zsh) && [[ ${_comps[mcpctl]} == _mcpctl ]]' ||
        fail 'zsh does not load the script'
fi

stop_mcpd
run in_bash get server al
assert_eq "$out$err" '' 'a word about an mcpd that is not there'
assert_eq "$status" 0
