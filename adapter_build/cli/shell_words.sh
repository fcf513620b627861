#!/usr/bin/env bash
# Quote a make variable's value for a shell, so that nothing in it is run: one file, if there is one of the whole name,
# else words, which quotes and backslashes hold together. A leading ~ is a home folder. Exit code 1 for an open quote.
set -euo pipefail

quoted() {
    local word=$1 home
    if [[ $word =~ ^~([a-z_][a-z0-9_-]*)?(/.*)?$ ]]; then
        home=${HOME:-~}
        [[ -z ${BASH_REMATCH[1]} ]] || home=$(getent passwd "${BASH_REMATCH[1]}" | cut -d: -f6) || home=
        [[ -z $home ]] || word=$home${BASH_REMATCH[2]}
    fi
    if [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then printf '%s ' "$word"; else printf "'%s' " "${word//\'/\'\\\'\'}"; fi
}

given=${1-}
if [[ -e $given || -e ${given/#\~\//${HOME-}/} ]]; then
    [[ $given != -* ]] || given=./$given
    quoted "$given"
    exit
fi
words=$(mktemp)
trap 'rm -f "$words"' EXIT
printf '%s' "$given" | xargs -r printf '%s\0' >"$words" 2>/dev/null || exit 1
while IFS= read -r -d '' word; do quoted "$word"; done <"$words"
