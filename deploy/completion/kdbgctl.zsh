#compdef kdbgctl
# Completion of kdbgctl for zsh. What can be completed is decided in one place, the completion for bash, which is asked.
# As _kdbgctl in a directory of $fpath.

_kdbgctl() {
  local script line="${(j: :)words[1,CURRENT-1]} $PREFIX"
  local -a offered folders
  for script in $KDBGCTL_COMPLETION /usr/share/bash-completion/completions/kdbgctl; do
    [[ -r $script ]] || continue
    offered=("${(@f)$(bash --norc -c 'source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; _kdbgctl
      ((${#COMPREPLY[@]} == 0)) || printf "%s\n" "${COMPREPLY[@]}"' bash "$script" "$line" 2>/dev/null)}")
    offered=(${(@)offered:#})
    folders=(${^offered}(N-/))
    (($#folders == 0)) || compadd -q -S / -- $folders
    compadd -- ${offered:|folders}
    return
  done
}

_kdbgctl "$@"
