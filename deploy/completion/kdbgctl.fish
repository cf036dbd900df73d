# Completion of kdbgctl for fish. What can be completed is decided in one place, the completion for bash, which is
# asked. As kdbgctl.fish in a directory of $fish_complete_path.

function __kdbgctl_offered
    for script in $KDBGCTL_COMPLETION /usr/share/bash-completion/completions/kdbgctl
        test -r $script; or continue
        bash --norc -c 'source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; _kdbgctl
            for each in "${COMPREPLY[@]}"; do
              if [[ -d $each ]]; then each+=/; fi
              printf "%s\n" "$each"
            done' bash $script (commandline -cp) 2>/dev/null
        return
    end
end

complete -c kdbgctl -f -a '(__kdbgctl_offered)'
