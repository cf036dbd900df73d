// What the shell scripts that run make in a sandbox have in common.
#pragma once

#include <string>
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

// Defines `use_compiler_cache`, to be called in the build directory: it puts a `ccache` of our own
// first on the path. In depend mode ccache knows what a file includes but not what its assembly
// takes in with .incbin, so a piggy.S or vdso-wrap.S of unchanged text gave an object with the
// kernel of an earlier build in it (4.7.5; its other modes leave such files alone). They are
// compiled without it. Kbuild names the source last.
inline constexpr std::string_view kCompilerCache = R"sh(
use_compiler_cache() {
  mkdir -p .kdbg/bin
  cat > .kdbg/bin/ccache <<END
#!/bin/sh
for source; do :; done
case \$source in
*.[Sc]) if [ -f "\$source" ] && grep -q '\.incbin' "\$source"; then exec "\$@"; fi ;;
esac
exec $(command -v ccache) "\$@"
END
  chmod 755 .kdbg/bin/ccache
  PATH=$PWD/.kdbg/bin:$PATH
}
)sh";

// The script, with all of the above to call.
inline std::string MakeScript(std::string_view script) {
  return std::string(kResumableMake).append(kCompilerCache).append(script);
}

}  // namespace kdbg::build
