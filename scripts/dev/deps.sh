#!/bin/sh
# usage: deps.sh GROUP...      groups: build test more lint fuzz bench guard peers
#
# Makes sure that what the groups need is installed. Silent and fast when it is. Otherwise says what is missing and
# why, and installs it where it can: on Debian and its relatives, as root or through sudo.
# `more` is what some specs are skipped without: large, or with a service of its own that nobody asked for.
# Exit: 0 all present, 100 it is for the user to install (the list is printed), 111 the installation failed.
set -eu

wanted=$*
packages= # every package that the wanted groups name
rows=     # one line a need: packages|probe|reason

# need GROUP PACKAGES PROBE REASON
#   PACKAGES  any one of them will do; the first that the release has is installed
#   PROBE     how to see it where there is no dpkg: a command, "file PATH" or "pc PKG-CONFIG-MODULE"
need() {
    case " $wanted " in *" $1 "*) ;; *) return 0 ;; esac
    packages="$packages $2"
    rows="$rows$2|$3|$4
"
}

need build gcc gcc "compiles the C core"
need build libc6-dev "file /usr/include/stdio.h" "the C library's headers"
need build make make "runs the build"
need build "pkg-config pkgconf" pkg-config "finds the libraries"
need build "libluajit2-5.1-dev libluajit-5.1-dev" "pc luajit" "LuaJIT, linked into clua"
need build libuv1-dev "pc libuv" "the event loop"
need build lua-luv-dev "file /usr/include/lua5.1/luv/luv.h" "libuv for Lua scripts, linked into clua"
need build "libllhttp-dev node-llhttp" "file /usr/share/llhttp/api.c" "the HTTP parser, compiled into clua"
need build lua-cjson-dev "file /usr/include/lua5.1/lua-cjson.h" "JSON for Lua scripts, linked into clua"
need build lua-argparse "file /usr/share/lua/5.1/argparse.lua" "the command line, compiled into clua"
need build lua-penlight "file /usr/share/lua/5.1/pl/template.lua" "its templates, compiled into clua"
need test lua-busted busted "runs the specs"
need test lua-zlib "file /usr/lib/$(uname -m)-linux-gnu/lua/5.1/zlib.so" "compresses and decompresses for clua.connect"
need test libbrotli1 "file /usr/lib/$(uname -m)-linux-gnu/libbrotlienc.so.1" "brotli for clua.connect.compress"
need test lua-luaossl "file /usr/share/lua/5.1/openssl.lua" "the cryptography of clua.connect (OpenSSL)"
need test curl curl "a client for the specs"
need test procps ps "shows the specs their processes"
need test apache2-utils ab "a client for the specs"
need test wrk wrk "a client for the specs"
need test nodejs node "its fetch is a client for the specs"
need test python3 python3 "clients for the specs"
need test nodejs node "a client for the specs"
need test tmux tmux "the terminal of clua top in the specs"
need test util-linux setpriv "lets the specs be another user"
need test systemd systemd-socket-activate "hands sockets to the specs"
need more chromium chromium "the browser of clua serve --livereload in the specs"
need more prometheus promtool "its promtool checks the metrics in the specs"
need more zsh zsh "a shell with completions in the specs"
need lint lua-check luacheck "checks the Lua files"
need lint clang-format clang-format "checks the layout of the C files"
need lint clang-tidy clang-tidy "checks the C files"
need lint cppcheck cppcheck "checks the C files"
need fuzz clang clang "compiles the fuzzer"
need fuzz "libclang-rt-dev libclang-rt-14-dev" clang "libFuzzer and the sanitizers"
need bench wrk wrk "makes the load"
need bench procps ps "measures the processes"
need guard valgrind valgrind "counts instructions"
need peers nginx nginx "the peer of make bench"
need peers libnginx-mod-http-lua "file /usr/lib/nginx/modules/ngx_http_lua_module.so" "its Lua module"
need peers lua-cjson "file /usr/share/lua/5.1/cjson" "JSON for it"
need peers nodejs node "another peer"

say() { printf '%s\n' "$*" >&2; }

[ -n "$wanted" ] || { say "usage: deps.sh GROUP...   groups: build test more lint fuzz bench guard peers" && exit 100; }
for group in "$@"; do
    case $group in build | test | more | lint | fuzz | bench | guard | peers) ;; *) say "deps.sh: no group '$group' (build test more lint fuzz bench guard peers)" && exit 100 ;; esac
done

# dpkg is asked once for all packages; a name that it does not know is an answer, not an error.
debian=false installed=
if command -v dpkg-query >/dev/null 2>&1; then
    debian=true
    installed=$(dpkg-query -W -f '${Package}=${db:Status-Status}\n' $packages 2>/dev/null) || true
fi

# present PACKAGES PROBE
present() {
    if $debian; then
        for package in $1; do
            case "
$installed
" in *"
$package=installed
"*) return 0 ;; esac
        done
        return 1
    fi
    case $2 in
    file\ *) [ -e "${2#file }" ] ;;
    pc\ *) pkg-config --exists "${2#pc }" 2>/dev/null ;;
    *) command -v "$2" >/dev/null 2>&1 ;;
    esac
}

# for_missing COMMAND: calls COMMAND PACKAGES REASON for each need that is not met.
for_missing() {
    while IFS='|' read -r alternatives probe reason; do
        [ -z "$alternatives" ] || present "$alternatives" "$probe" || "$1" "$alternatives" "$reason"
    done <<ROWS
$rows
ROWS
}

tell() { say "  $(printf '%-42s' "$(echo "$1" | sed 's/ / or /g')") $2"; }

choose() {
    for package in $1; do
        if [ -n "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ]; then
            echo "$package"
            return
        fi
    done
    echo "${1%% *}"
}

refuse() {
    say "clua needs these packages, and $1: please install them."
    for_missing tell
    exit 100
}

[ -n "$(for_missing echo)" ] || exit 0
$debian && command -v apt-get >/dev/null 2>&1 || refuse "this is not a Debian system"

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
    [ -t 0 ] || as_root="sudo -n" # nobody is there to type a password
    $as_root true || refuse "sudo does not let you install them"
else
    refuse "you are not root and there is no sudo"
fi

say "installing what clua needs:"
for_missing tell
# Errors and warnings are on stderr; on stdout every package would tell of its unpacking.
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}
apt update || say "deps.sh: apt-get update failed, going on with the package lists as they are"
apt install --no-install-recommends -y $(for_missing choose | sort -u) || {
    say "deps.sh: apt-get could not install them all"
    exit 111
}
