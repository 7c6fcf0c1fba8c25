#!/bin/sh
# The tests of what lies in files, and the fault matrix, under the race detector
# and COUNT times (3): as whoever calls this, and where that is root, also as an
# ordinary user. `make race-users` runs it; FAULTS=0 leaves the matrix out, which
# wants an idle machine, and FILES=0 all but the matrix.
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

# tests DIRECTORY BINARY ARGS... as the user whose home is $home. What each test came
# to is kept, and has to be the same in all runs.
tests() {
	directory=$1 binary=$2
	shift 2
	printf '=== %s of %s, as %s\n' "$binary" "$directory" "$name"
	if ! (cd "$work/tree/$directory" && env -i PATH="$PATH" HOME="$home" TMPDIR="$home/tmp" GOCACHE="$home/cache" \
		CI="${CI:-}" STET_PROGRAM="$work/stet" STET_FAULTS="${FAULTS:-1}" \
		$as "$work/$binary" -test.v -test.count="$count" -test.timeout=90m "$@" </dev/null) >"$work/log" 2>&1; then
		cat "$work/log"
		exit 1
	fi
	results <"$work/log" >"$work/once"
	awk -v count="$count" '{ n[$2]++; came[$2] = came[$2] == "" || came[$2] == $1 ? $1 : "differs" }
		END { for (t in n) print t, (n[t] == count ? came[t] : "differs") }' "$work/once" | sort >"$work/sorted"
	if grep 'differs$' "$work/sorted"; then
		echo "race-users: not the same in $count runs, as $name" >&2
		exit 1
	fi
	printf '%s tests, %s times the same\n' "$(grep -c . "$work/sorted")" "$count"
	sed "s|^|$binary |" "$work/sorted" >>"$results"
}

# results gives RESULT NAME for each test of a log.
results() { sed -n 's/^ *--- \(PASS\|SKIP\|FAIL\): \([^ ]*\) .*/\1 \2/p'; }

# What only one of the users can do.
one_user='TestLayoutWithoutPermission|TestBeyondPartialOfAnother|TestUnpackFilesOfAnother|TestStageInTheWay'

all() {
	mkdir -p "$home/tmp"
	chmod 755 "$home"
	if [ "${FILES:-1}" != 0 ]; then
		tests pkg/artifact artifact.test
		tests pkg/local local.test
		tests cmd/stet stet.test -test.run "$cases"
	fi
	[ "${FAULTS:-1}" = 0 ] || tests internal/interop interop.test -test.run '^TestFaultMatrix$'
}

# What cmd/stet holds about files: the cases of that by their numbers, and the scripts.
cases='^TestCase(46|69|7|8[89])|^TestBeyondPartial|^TestScripts$/^(archive|backup|blob|convert|cp|cut|digest|log|manifest|names|pull|push|restore|signals|upload|verify)'

name=$(id -un) home=$work/home as= results=$work/first
all
if [ "$(id -u)" = 0 ]; then
	results=$work/second name="uid $ordinary" home=$work/ordinary as="setpriv --reuid=$ordinary --regid=$ordinary --clear-groups --"
	mkdir "$home"
	chown -R "$ordinary:$ordinary" "$home" "$work/tree"
	mkdir -p "$home/tmp"
	chown "$ordinary:$ordinary" "$home/tmp"
	all
	for user in first second; do
		grep -Ev " ($one_user)" "$work/$user" >"$work/$user.same"
	done
	if ! diff "$work/first.same" "$work/second.same"; then
		echo 'race-users: not the same for both users' >&2
		exit 1
	fi
	echo 'race-users: the same for both, but for these:'
	diff "$work/first" "$work/second" || true
else
	echo 'race-users: not root, so only as one user' >&2
fi
