#!/bin/sh
# The main job, end to end: files to a registry, on to a second registry that
# can do less, into a layout, and back to files, with one digest all the way.
# Usage: demo.sh PATH-OF-STET. Everything happens on loopback, in a directory
# that is removed at the end.
set -eu

stet=${1:-stet}
work=$(mktemp -d)
servers=
cleanup() {
	for pid in $servers; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n== %s\n' "$*"; }
run() {
	printf '$ %s\n' "$*" >&2
	"$@"
}

# serve FILE FLAGS... starts a registry and leaves its address in FILE.
serve() {
	out=$1
	shift
	"$stet" serve --addr localhost:0 "$@" >"$work/$out" &
	servers="$servers $!"
	tries=0
	until grep -q '^Serving' "$work/$out" 2>/dev/null; do
		tries=$((tries + 1))
		[ "$tries" -le 100 ] || { echo "the registry did not start" >&2; exit 1; }
		sleep 0.1
	done
	sed -n 's|^Serving http://||p' "$work/$out"
}

step "Two registries: one that can do everything, one with the limits of older ones"
serve one >"$work/addr1"
serve two --quirk no-referrers-api --quirk no-single-post --quirk no-mount --quirk page-size=1 >"$work/addr2"
one=$(cat "$work/addr1")
two=$(cat "$work/addr2")
echo "one: $one"
echo "two: $two (no referrers API, no single POST, no mount, pages of one)"

cd "$work"
mkdir -p site/css
echo '<h1>stet</h1>' >site/index.html
echo 'h1 { font: bold 2em serif }' >site/css/style.css
echo 'let it stand' >note.txt

step "1. The digest before anything is sent"
run "$stet" push --dry-run --format go-template='{{.digest}}' --artifact-type application/vnd.example.site "$one/demo:v1" ./site note.txt:text/plain >dry
echo "$(cat dry)"

step "2. Files to the first registry"
run "$stet" push --artifact-type application/vnd.example.site "$one/demo:v1" ./site note.txt:text/plain

step "3. On to the second registry"
run "$stet" cp "$one/demo:v1" "$two/mirror/demo:v1"

step "4. Into a layout on disk"
run "$stet" cp "$two/mirror/demo:v1" oci:layout:v1

step "5. Back to files, from the layout"
run "$stet" pull -o pulled oci:layout:v1
run diff -r site pulled/site
run diff note.txt pulled/note.txt

step "6. One digest"
cd pulled
"$stet" push --dry-run --format go-template='{{.digest}}' --artifact-type application/vnd.example.site "$one/demo:v1" ./site note.txt:text/plain >../again
cd ..
dry=$(cat dry)
again=$(cat again)
first=$("$stet" resolve "$one/demo:v1")
second=$("$stet" resolve "$two/mirror/demo:v1")
layout=$("$stet" resolve oci:layout:v1)
printf '%-20s %s\n' "before the push" "$dry" "first registry" "$first" "second registry" "$second" "layout" "$layout" "pulled copy" "$again"
for d in "$first" "$second" "$layout" "$again"; do
	[ "$d" = "$dry" ] || { echo "the digests differ" >&2; exit 1; }
done
echo "One and the same digest all the way."
