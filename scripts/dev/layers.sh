#!/bin/sh
# usage: layers.sh [ROOT]
#
# Checks the rules of layering that no compiler knows; each is named by its message. Prints "file:line: rule" for every
# breach and ends with 1 if there was one.
set -eu
cd "${1:-$(dirname "$0")/../..}"

# Prints the lines of a C file as "file:line: code", without comments and without what strings say; an #include keeps its
# name. A comment may mention what the code may not do.
code() {
    awk '
    {
        out = ""
        include = !in_comment && $0 ~ /^[ \t]*#[ \t]*include/
        for (i = 1; i <= length($0); i++) {
            c = substr($0, i, 1)
            two = substr($0, i, 2)
            if (in_comment) {
                if (two == "*/") { in_comment = 0; i++ }
            } else if (quote != "") {
                if (c == "\\") i++
                else if (c == quote) quote = ""
            } else if (two == "/*") { in_comment = 1; i++; out = out " " }
            else if (two == "//") break
            else if (!include && (c == "\"" || c == "\047")) { quote = c; out = out "_" }
            else out = out c
        }
        quote = ""
        if (out ~ /[^ \t]/) print FILENAME ":" FNR ": " out
    }' "$1"
}

# forbid RULE PATTERN: every line of $text that matches is a breach of the rule.
forbid() {
    printf '%s\n' "$text" | grep -E ":[0-9]+:.*$2" | cut -d: -f1,2 | sed "s|\$|: $1|"
}
word() { printf '(^|[^A-Za-z0-9_])(%s)([^A-Za-z0-9_]|$)' "$1"; }
header() { printf '#[ \t]*include[ \t]*[<"]([^>"]*/)?(%s)[.]h[>"]' "$1"; }

breaches=$(
    for file in src/*.c src/*.h; do
        [ -e "$file" ] || continue
        text=$(code "$file")

        case $file in
        src/lua_*.c) ;;
        src/lua_*.h) forbid "of Lua's headers, ours include lua.h and lauxlib.h" "$(header 'lualib|luajit|luv')" ;;
        *) forbid "only src/lua_* knows Lua" "$(header 'lua|lauxlib|lualib|luajit|luv')" ;;
        esac

        [ "$file" = src/lua_host.c ] ||
            forbid "only src/lua_host.c enters Lua" "$(word 'lua_c?pcall|lua_resume|luaL_dofile|luaL_dostring')"
        forbid "nobody would catch an error in lua_call" "$(word lua_call)"

        case $file in
        src/stream.[ch] | src/stream_*.[ch]) ;;
        *) forbid "only src/stream*.c knows the inside of a stream" "$(header stream_private)" ;;
        esac

        case $file in
        *.c) sed 15q "$file" | grep -qwE 'MASTER|WORKER|BOTH' ||
            echo "$file:1: the first 15 lines name no process: MASTER, WORKER or BOTH" ;;
        esac
    done

    for entry in *; do
        case $entry in
        src | lua | scripts | spec | Makefile | README.md | LICENSE | build) ;;
        *) echo "$entry:1: does not belong at the top level" ;;
        esac
    done
)

[ -z "$breaches" ] || {
    printf '%s\n' "$breaches" >&2
    exit 1
}
