// What the shell scripts that run make in a sandbox have in common.
#pragma once

#include <string_view>

namespace kdbg::build {

// Defines `resumable_make ARGUMENTS...`, to be used in the build directory. A make that was killed
// (by a cancel, a limit, the end of the daemon) leaves files that are half written and newer than
// what they are made of, so the next make would take them for done. Whatever was written in the
// last seconds before such an end is therefore made again: without its .cmd file kbuild takes a
// target for not made.
inline constexpr std::string_view kResumableMake = R"sh(
forget_half_written() {
  newest=$(find . -type f ! -path './.kdbg/*' -printf '%T@\n' | sort -n | tail -n 1)
  find . -type f -newermt "@$((${newest%.*} - 5))" ! -path './.kdbg/*' |
  while IFS= read -r file; do
    folder=${file%/*}
    name=${file##*/}
    case $name in
    .*.cmd) name=${name#.} name=${name%.cmd} ;;
    *) [ -e "$folder/.$name.cmd" ] || continue ;;
    esac
    rm -f "$folder/$name" "$folder/.$name.cmd"
  done
}
resumable_make() {
  [ ! -e .kdbg/making ] || forget_half_written
  : > .kdbg/making
  status=0
  make "$@" || status=$?
  rm -f .kdbg/making
  return $status
}
)sh";

}  // namespace kdbg::build
