#!/bin/sh
# The tests of what lies in files, and the fault matrix, under the race detector
# and COUNT times (3): as whoever calls this, and where that is root, also as an
# ordinary user. `make race-users` runs it; FAULTS=0 leaves the matrix out, which
# wants an idle machine.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
count=${COUNT:-3}
ordinary=65534

work=$(mktemp -d)
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
chmod 755 "$work"

# The ordinary user may have no Go, and may not look into this directory: all is
# built once, and the tests run in a copy.
mkdir "$work/tree"
tar -c --exclude=./.git --exclude=./bin --exclude=./dist . | tar -x -C "$work/tree"
CGO_ENABLED=0 "$go" build -trimpath -o "$work/stet" ./cmd/stet
for package in pkg/artifact pkg/local cmd/stet; do
	"$go" test -c -race -o "$work/$(basename $package).test" "./$package"
done
(cd internal/interop && "$go" test -c -race -o "$work/interop.test" .)
chmod -R a+rX "$work"

# tests DIRECTORY BINARY ARGS... as the user whose home is $home
tests() {
	directory=$1 binary=$2
	shift 2
	printf '=== %s of %s, as %s\n' "$binary" "$directory" "$name"
	(cd "$work/tree/$directory" && env -i PATH="$PATH" HOME="$home" TMPDIR="$home/tmp" GOCACHE="$home/cache" \
		CI="${CI:-}" STET_PROGRAM="$work/stet" STET_FAULTS="${FAULTS:-1}" \
		$as "$work/$binary" -test.count="$count" -test.timeout=90m "$@" </dev/null)
}

all() {
	mkdir -p "$home/tmp"
	chmod 755 "$home"
	tests pkg/artifact artifact.test
	tests pkg/local local.test
	tests cmd/stet stet.test -test.run "$cases"
	[ "${FAULTS:-1}" = 0 ] || tests internal/interop interop.test -test.run '^TestFaultMatrix$'
}

# What cmd/stet holds about files: the cases of that by their numbers, and the scripts.
cases='^TestCase(46|69|7|8[89])|^TestBeyondPartial|^TestScripts$/^(archive|backup|blob|convert|cp|cut|digest|log|manifest|names|pull|push|restore|signals|upload|verify)'

name=$(id -un) home=$work/home as=
all
if [ "$(id -u)" = 0 ]; then
	name="uid $ordinary" home=$work/ordinary as="setpriv --reuid=$ordinary --regid=$ordinary --clear-groups --"
	mkdir "$home"
	chown -R "$ordinary:$ordinary" "$home" "$work/tree"
	mkdir -p "$home/tmp"
	chown "$ordinary:$ordinary" "$home/tmp"
	all
else
	echo 'race-users: not root, so only as one user' >&2
fi
echo 'race-users: the same for all'
