#!/bin/sh
# Make .venv in the clone with the pinned dependencies: `sh requirements/setup.sh [PYTHON]`, from the clone's root.
#
# .venv/stamp holds a digest of what the set-up was made from. It is written last: without it, .venv is half made,
# and is made anew; with another digest, the dependencies are brought up to date.
set -eu

venv=.venv
stamp=$venv/stamp
log=$venv/setup.log

fail() {
    echo "make setup: $*" >&2
    exit 1
}

# What a set-up depends on, as a digest. The path belongs to it: a venv does not survive being moved.
digest() {
    "$1" - "$PWD" requirements/all.txt pyproject.toml <<'END'
import hashlib, pathlib, sys
where, *files = sys.argv[1:]
parts = [where, sys.version, *(pathlib.Path(file).read_text() for file in files)]
print(hashlib.sha256("\0".join(parts).encode()).hexdigest())
END
}

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Print the first Python that fits; a name on PATH may be a stand-in that only complains, so each is run.
find_python() {
    without_venv=
    for candidate in ${1:+"$1"} python3.13 python3.12 python3.11 python3; do
        if fits "$candidate"; then
            if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
                command -v "$candidate"
                return
            fi
            without_venv=$candidate
        elif [ "$candidate" = "${1:-}" ]; then
            fail "PYTHON=$1 is not Python 3.11 or later."
        fi
    done
    [ -z "$without_venv" ] || fail "$without_venv has no venv module. Install it (Debian, Ubuntu:" \
        "apt install python3-venv), or name another Python with make PYTHON=/path/to/python3 …"
    fail "no Python 3.11 or later was found. Install one (Debian, Ubuntu: apt install python3 python3-venv)," \
        "or name it with make PYTHON=/path/to/python3 …"
}

# Move a leftover that we may not be allowed to empty (another user's, read-only) out of the way.
set_aside() {
    [ -e "$1" ] || [ -h "$1" ] || return 0
    chmod -R u+w "$1" 2>/dev/null || true
    rm -rf "$1" 2>/dev/null || mv "$1" ".old-$$-${1#.}" || fail "$PWD/$1 cannot be removed: remove it, and try again."
}

# Run pip, its output in a log, a line now and then on the terminal.
install() {
    status=$venv/status
    { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1 ||
        echo "$?" >"$status"; } | awk -v log_file="$log" '
        { print >> log_file }
        /^Collecting / { if (++found % 25 == 0) { print "  " found " packages found"; fflush() } }
        /^Installing collected/ && found > 1 { print "  downloaded; installing"; fflush() }'
    if [ -e "$status" ]; then
        rm "$status"
        tail -n 15 "$log" >&2
        fail "pip could not install the dependencies; its output is above and in $log. Then run make setup again."
    fi
}

[ -w . ] || fail "$PWD cannot be written: make a clone of your own."

if [ -w "$venv" ] && [ -e "$stamp" ] && fits "$venv/bin/python"; then
    [ "$(cat "$stamp")" != "$(digest "$venv/bin/python")" ] || exit 0
    echo "The dependencies have changed: bringing $venv up to date."
else
    python=$(find_python "${1:-}")
    echo "Making $venv with $python ($("$python" -V))."
    set_aside "$venv"
    "$python" -m venv "$venv"
fi

rm -f "$stamp"
set_aside sat_registry.egg-info
echo "Installing the pinned dependencies (PyTorch among them: some minutes and about 6 GB the first time)."
install -r requirements/all.txt
install --no-deps --no-build-isolation --editable .
digest "$venv/bin/python" >"$stamp"
echo "Set up."
