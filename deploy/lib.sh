# What deploy/quickstart and tests/run share: saying what happens, installing packages, sources.
# Sourced from bash with `set -euo pipefail`, from the top of the tree.
# shellcheck shell=bash

source deploy/packages

say() { printf '%s\n' "$*"; }

die() {
  printf '\n%s\n' "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    command -v sudo >/dev/null || die "This step needs root: install sudo, or run this as root."
    sudo "$@"
  fi
}

# logged LOG COMMAND...: all output goes to LOG; a terminal shows the newest line in place, anything
# else a line every five seconds. On failure the end of LOG is printed.
logged() {
  local log=$1 line shown=$EPOCHSECONDS
  shift
  mkdir -p "$(dirname "$log")"
  if "$@" </dev/null 2>&1 | tee "$log" | while IFS= read -r line; do
    if [[ -t 1 ]]; then
      printf '\r\e[K  %.*s' "$((${COLUMNS:-80} - 3))" "$line"
    elif ((EPOCHSECONDS - shown >= 5)); then
      printf '  %.100s\n' "$line"
      shown=$EPOCHSECONDS
    fi
  done; then
    if [[ -t 1 ]]; then printf '\r\e[K'; fi
  else
    printf '\n'
    tail -n 40 "$log"
    die "Failed: $* (the whole output is in $log)"
  fi
}

# Prints those of the packages given that are not installed.
missing_packages() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    sed -n 's/^installed //p' || true)
  comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<<"$installed")
}

# Installs what is missing of the packages given; costs a fraction of a second when nothing is.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    say "  all packages are there"
    return
  fi
  say "  installing ${#missing[@]} packages and what they need: ${missing[*]}"
  logged "$cache_dir/apt-update.log" as_root apt-get -q update -o DPkg::Lock::Timeout=600
  logged "$cache_dir/apt-install.log" as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
    install --no-install-recommends "${missing[@]}"
}

# The embedded libvirt does not start as root unless the account that Debian's libvirt was compiled for
# exists. Only libvirt-daemon-system makes it, which also starts a libvirtd and a network that kdbgd does
# not need; so it is made here as that package would.
prepare_libvirt_account() {
  local uid=() gid=()
  if ! getent group kvm >/dev/null; then as_root addgroup --quiet --system kvm; fi
  if ! getent passwd libvirt-qemu >/dev/null; then
    say "  adding the system user libvirt-qemu, as Debian's libvirt-daemon-system does"
    if ! getent passwd 64055 >/dev/null; then uid=(--uid 64055); fi
    as_root adduser --quiet --system --ingroup kvm --disabled-login --no-create-home \
      --home /var/lib/libvirt --gecos "Libvirt Qemu" "${uid[@]}" libvirt-qemu
  fi
  if ! getent group libvirt-qemu >/dev/null; then
    if ! getent group 64055 >/dev/null; then gid=(--gid 64055); fi
    as_root addgroup --quiet --system "${gid[@]}" libvirt-qemu
    as_root adduser --quiet libvirt-qemu libvirt-qemu
  fi
}

linux_tarball=/usr/src/linux-source-6.1.tar.xz

# Sets busybox_tarball: the upstream tarball out of Debian's source package, checked by apt against the
# signed index. Package lists and the file stay in the cache directory; the system's own list of
# sources is read (both formats, by apt itself) and not touched.
fetch_busybox() {
  local apt=$cache_dir/apt
  busybox_tarball=$(compgen -G "$cache_dir/busybox_*.orig.tar.bz2" | tail -n 1 || true)
  if [[ -n $busybox_tarball ]]; then
    say "  BusyBox source: $busybox_tarball"
    return
  fi
  say "  fetching Debian's BusyBox source package"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial"
  if [[ -z $(debian_source_lines) ]]; then
    logged "$cache_dir/apt-update.log" as_root apt-get -q update -o DPkg::Lock::Timeout=600
  fi
  debian_source_lines >"$apt/sources.list"
  local options=(-q -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt" -o Acquire::Languages=none
    -o "APT::Sandbox::User=$(id -un)")
  logged "$cache_dir/apt-source-update.log" apt-get "${options[@]}" update
  logged "$cache_dir/apt-source.log" \
    env -C "$apt/archives" apt-get "${options[@]}" source --download-only busybox
  mv "$apt/archives"/busybox_* "$cache_dir"
  busybox_tarball=$(compgen -G "$cache_dir/busybox_*.orig.tar.bz2" | tail -n 1) ||
    die "apt-get source left no busybox_*.orig.tar.bz2 in $cache_dir"
  say "  BusyBox source: $busybox_tarball"
}

# One deb-src line for each place that Debian's own main packages come from on this system.
debian_source_lines() {
  apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(RELEASE)' |
    sort -u | while IFS='|' read -r created origin component uri release; do
    [[ $created == Packages && $origin == Debian && $component == main ]] || continue
    printf 'deb-src %s %s main\n' "$uri" "$release"
  done
}

# configure_and_build DIR [CMAKE-ARGUMENT...] -- [TARGET...]
configure_and_build() {
  local dir=$1 arguments=()
  shift
  while (($# > 0)) && [[ $1 != -- ]]; do
    arguments+=("$1")
    shift
  done
  shift
  # An unchanged tree is configured again only by ninja itself, when a CMake file or a folder changed.
  if [[ ! -f $dir/build.ninja ]] || ((${#arguments[@]} > 0)); then
    logged "$dir/configure.log" cmake -S . -B "$dir" -G Ninja "${arguments[@]}"
  fi
  logged "$dir/build.log" nice ninja -C "$dir" "$@"
}

if [[ -z ${HOME:-} ]]; then HOME=$(getent passwd "$EUID" | cut -d: -f6); fi
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/kdbg/sources
mkdir -p "$cache_dir"
