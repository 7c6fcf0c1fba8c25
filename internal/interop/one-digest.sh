#!/bin/sh
# One directory of files has one digest: in docker-registry (Distribution 2.8),
# in `stet serve`, in a layout, before anything is sent, and after touch, under
# two umasks, in two time zones, with one processor and eight, from another
# working directory. Prints a table; exits 1 when two digests differ.
# Usage: one-digest.sh [PATH-OF-STET]
set -eu

stet=${1:-stet}
command -v "$stet" >/dev/null || { echo "usage: one-digest.sh PATH-OF-STET" >&2; exit 2; }
unset SOURCE_DATE_EPOCH # a time that is asked for would be in the digest
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

# wait_for COMMAND... tries for ten seconds.
wait_for() {
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -le 100 ] || { echo "gave up: $*" >&2; return 1; }
		sleep 0.1
	done
}

cd "$work"
"$stet" serve --addr localhost:0 >serve.out &
servers="$servers $!"
wait_for grep -q '^Serving' serve.out
serve=$(sed -n 's|^Serving http://||p' serve.out)

docker=
if command -v docker-registry >/dev/null; then
	# A free port: one that serve got and gave back.
	"$stet" serve --addr localhost:0 >free.out &
	free=$!
	wait_for grep -q '^Serving' free.out
	docker=$(sed -n 's|^Serving http://||p' free.out)
	kill "$free"
	wait "$free" 2>/dev/null || true
	cat >config.yml <<-END
		version: 0.1
		log: {level: error, accesslog: {disabled: true}}
		storage:
		  filesystem: {rootdirectory: $work/data}
		  delete: {enabled: true}
		http: {addr: "127.0.0.1:${docker##*:}"}
	END
	OTEL_TRACES_EXPORTER=none docker-registry serve config.yml >docker.out 2>&1 &
	servers="$servers $!"
	wait_for "$stet" push "$docker/is/it:there"
else
	echo "docker-registry is not installed: left out (apt-get install docker-registry)" >&2
fi

mkdir -p files/site/css
cd files
echo '<h1>stet</h1>' >site/index.html
echo 'h1 { font: bold 2em serif }' >site/css/style.css
ln -s index.html site/home.html
echo '#!/bin/sh' >site/run.sh
chmod 755 site/run.sh
echo 'let it stand' >note.txt

n=0
first=
same=yes
row() {
	printf '%-28s %s\n' "$1" "$2"
	[ -n "$first" ] || first=$2
	[ "$first" = "$2" ] || same=no
}
# pushed NAME REF pushes the files and shows what the reference then names.
pushed() {
	"$stet" push --artifact-type application/vnd.example.site "$2" site note.txt:text/plain >/dev/null 2>&1
	row "$1" "$("$stet" resolve "$2")"
}
# again NAME pushes them to serve, under a tag of its own.
again() {
	n=$((n + 1))
	pushed "$1" "$serve/site:n$n"
}

row 'dry run, nothing sent' "$("$stet" push --dry-run --format 'go-template={{.digest}}' \
	--artifact-type application/vnd.example.site registry.invalid/site:v1 site note.txt:text/plain)"
[ -z "$docker" ] || pushed 'docker-registry 2.8' "$docker/site:v1"
pushed 'stet serve' "$serve/site:v1"
pushed 'layout' "oci:$work/layout:v1"
find . -exec touch -h -t 200102030405 {} +
again 'after touch'
for mask in 077 022; do
	umask $mask
	cp -R "$work/files" "$work/files-$mask"
	cd "$work/files-$mask"
	again "copied under umask $mask"
done
umask 022
for zone in Pacific/Kiritimati Pacific/Honolulu; do
	TZ=$zone
	export TZ
	again "TZ=$zone"
done
unset TZ
for n_cpu in 1 8; do
	GOMAXPROCS=$n_cpu
	export GOMAXPROCS
	again "GOMAXPROCS=$n_cpu"
done
unset GOMAXPROCS
mkdir -p "$work/else/where"
cp -R "$work/files/." "$work/else/where"
cd "$work/else/where"
again 'from another directory'
"$stet" pull -o "$work/pulled" "$serve/site:v1" >/dev/null 2>&1
cd "$work/pulled"
again 'what was pulled, again'

echo "one digest: $same"
[ "$same" = yes ]
