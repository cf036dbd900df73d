# Completion of kdbgctl's commands, options and of names that the server knows. Commands and options are read from
# its own --help, so there is no list here that could be out of date. Source it, or install it as
# /usr/share/bash-completion/completions/kdbgctl.
# shellcheck shell=bash

# What --help lists under a heading: "  NAME ..." lines, up to the next heading.
_kdbgctl_listed() {
  awk -v heading="$1:" '$0 == heading { inside = 1; next } /^[A-Z][a-z]+:$/ { inside = 0 } inside && /^  [^ ]/'
}

# Names of one kind, as the server lists them; nothing when there is none to ask.
_kdbgctl_names() {
  local noun=$1
  shift
  timeout 3 kdbgctl "$@" -q -o name "$noun" list 2>/dev/null
}

# What an option's value, or an argument of this name, can be. `file` as the first word: also a file.
_kdbgctl_candidates() {
  local what=$1
  shift
  case $what in
    SESSION) _kdbgctl_names session "$@" | sed 's,.*/,,' ;;
    BUILD | --kernel | --initramfs | --modules) _kdbgctl_names build "$@" | sed 's,.*/,,' ;;
    ARTIFACT) _kdbgctl_names artifact "$@" | sed 's,.*/,,' ;;
    SOURCE) echo file && _kdbgctl_names source "$@" ;;
    --busybox) echo file && _kdbgctl_names source "$@" ;;
    --arch) printf '%s\n' x86_64 arm64 riscv64 ;;
    --config) printf '%s\n' file tiny defconfig allnoconfig ;;
    --accel) printf '%s\n' auto kvm tcg ;;
    --stop-at) printf '%s\n' start_kernel shell reset none ;;
    -o | --format) printf '%s\n' table json name ;;
    *) echo file ;;
  esac
}

_kdbgctl() {
  local line=${COMP_LINE:0:COMP_POINT} cur='' help global word option='' listed
  local -a words path=() server=() arguments candidates
  local -i i given=0
  read -ra words <<<"$line"
  if [[ $line == *[[:space:]] ]]; then words+=(''); fi
  cur=${words[-1]}
  COMPREPLY=()
  global=$(kdbgctl --help 2>/dev/null) || return
  help=$global
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    word=${words[i]}
    if [[ -n $option ]]; then
      if [[ $option == --server ]]; then server=(--server "$word"); fi
      option=''
    elif [[ $word == -- ]]; then
      return  # what follows is for another program
    elif [[ $word == -* ]]; then
      # An option that takes a value says of which kind it is.
      if _kdbgctl_listed Options <<<"$global"$'\n'"$help" | grep -qE -- "^  ([^ ]+,)?$word(,[^ ]+)? [A-Z]"; then
        option=$word
      fi
    elif _kdbgctl_listed Subcommands <<<"$help" | awk '{ print $1 }' | grep -qxF -- "$word"; then
      path+=("$word")
      help=$(kdbgctl "${path[@]}" --help 2>/dev/null)
    else
      given+=1
    fi
  done

  if [[ -n $option ]]; then
    mapfile -t candidates < <(_kdbgctl_candidates "$option" "${server[@]}")
  elif [[ $cur == -* ]]; then
    listed=$(_kdbgctl_listed Options <<<"$global"$'\n'"$help" | awk '{ print $1 }' | tr , '\n' | sort -u)
    mapfile -t candidates <<<"$listed"
  else
    mapfile -t candidates < <(_kdbgctl_listed Subcommands <<<"$help" | awk '{ print $1 }')
    mapfile -t arguments < <(_kdbgctl_listed Positionals <<<"$help" | awk '{ print $1 }')
    if ((given < ${#arguments[@]})); then
      mapfile -t candidates < <(_kdbgctl_candidates "${arguments[given]}" "${server[@]}")
    fi
  fi
  if [[ ${candidates[0]} == file ]]; then
    candidates=("${candidates[@]:1}")
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
  fi
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "${candidates[*]}" -- "$cur")
}

complete -F _kdbgctl kdbgctl
