# Shared by the scripts here: strictness, and a headline that tells how long the section before it took.
set -euo pipefail

section=
section_start=$SECONDS

took() { [ -z "$section" ] || printf -- '-- %s: %d s\n' "$section" "$((SECONDS - section_start))"; }

note() {
    took
    section=$1 section_start=$SECONDS
    printf '\n== %s\n' "$1"
}
