# shellcheck shell=bash
# What the scripts say and do step by step; sourced by them. With dry_run=yes nothing is done, only said.
: "${dry_run:=no}"

say() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Carries the command out, or only shows it.
run() {
    printf '+ %s\n' "$*"
    [ "$dry_run" = yes ] || "$@"
}

# Ends the script unless these programs are there.
need() {
    local program
    for program; do
        command -v "$program" >/dev/null || fail "$program is not installed; docs/deploy.md says where it comes from"
    done
}

# The comment at the head of a script, without its first line.
usage() {
    awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
}
