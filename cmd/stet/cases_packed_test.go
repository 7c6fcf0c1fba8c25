package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/stet-oci/stet/pkg/store"
)

// Annotations by which ORAS marks a packed directory.
const (
	unpackKey  = "io.deis.oras.content.unpack"
	contentKey = "io.deis.oras.content.digest"
	titleKey   = "org.opencontainers.image.title"
)

// entryOf is an entry of a tar: a name, what it is, and a link's target or a
// file's content.
type entryOf struct {
	name string
	kind byte
	to   string
	mode int64
	pax  map[string]string
}

// tarball is a tar of entries, as bytes.
func tarball(entries ...entryOf) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == tar.TypeXHeader {
			_ = w.Flush()
			b.Write(record(e.name))
			continue
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o644, PAXRecords: e.pax, Uid: 12345, Gid: 12345, ModTime: time.Unix(1, 0)}
		if e.mode != 0 {
			h.Mode = e.mode
		} else if e.kind == tar.TypeDir {
			h.Mode = 0o755
		}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.to))
		} else {
			h.Linkname = e.to
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if e.kind == tar.TypeReg {
			_, _ = io.WriteString(w, e.to)
		}
	}
	_ = w.Close()
	return b.Bytes()
}

// record is a PAX record for the next entry, which tar.Writer does not write
// where it contradicts the header.
func record(keyAndValue string) []byte {
	n := len(keyAndValue) + 3
	for len(fmt.Sprint(n)+" "+keyAndValue+"\n") != n {
		n++
	}
	block := tarball(entryOf{name: "pax", kind: tar.TypeReg, to: fmt.Sprint(n) + " " + keyAndValue + "\n"})[:1024]
	const kind, sum, sumEnd = 156, 148, 156
	block[kind] = tar.TypeXHeader
	copy(block[sum:sumEnd], "        ")
	total := 0
	for _, c := range block[:512] {
		total += int(c)
	}
	copy(block[sum:sumEnd], fmt.Sprintf("%06o\x00 ", total))
	return block
}

func squeezed(raw []byte) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(raw)
	_ = z.Close()
	return b.String()
}

// packed puts the directory d, packed, on a shelf as app:v1 beside a file.
func packed(s *shelf, title string, raw []byte) store.Descriptor {
	d := s.blob(squeezed(raw))
	d.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	d.Annotations = map[string]string{titleKey: title, unpackKey: "true", contentKey: digest.FromBytes(raw).String()}
	s.artifact([]store.Descriptor{s.file("beside.txt", "beside\n"), d}, "v1")
	return d
}

// Case 71: packed: .., absolute, symlink tricks, hard links, devices, set-id:
// nothing outside, no such entry.
func TestCase71Packed(t *testing.T) {
	t.Parallel()
	dir := entryOf{name: "d/", kind: tar.TypeDir}
	file := func(name string) entryOf { return entryOf{name: name, kind: tar.TypeReg, to: "evil\n"} }
	link := func(name, to string) entryOf { return entryOf{name: name, kind: tar.TypeSymlink, to: to} }
	hard := func(name, to string) entryOf { return entryOf{name: name, kind: tar.TypeLink, to: to} }
	for name, entries := range map[string][]entryOf{
		"dots":                        {dir, file("d/../../victim")},
		"dots inside":                 {dir, file("d/a/../../../victim")},
		"other directory":             {dir, file("victim")},
		"absolute":                    {dir, file("/OUTER/victim")},
		"link out":                    {dir, link("d/l", "../../victim")},
		"link out, written through":   {dir, link("d/l", "../.."), file("d/l/victim")},
		"absolute link":               {dir, link("d/l", "OUTER/victim"), file("d/l")},
		"link, then file of its name": {dir, link("d/l", "x"), file("d/l")},
		"link, then directory":        {dir, link("d/l", "x"), {name: "d/l/", kind: tar.TypeDir}, file("d/l/victim")},
		"chain of links":              {dir, link("d/a", "b"), link("d/b", "c"), link("d/c", ".."), file("d/a/victim")},
		"chain by dots":               {dir, {name: "d/p/", kind: tar.TypeDir}, link("d/p/q", ".."), link("d/x", "p/q/../.."), file("d/x/victim")},
		"down and up":                 {dir, {name: "d/a/b/", kind: tar.TypeDir}, link("d/l", "a/b"), link("d/m", "l/../../../victim")},
		"link of the directory":       {link("d", "../"), file("d/victim")},
		"link of the top":             {link("d", ".."), {name: "d/", kind: tar.TypeDir}, file("d/victim")},
		"hard link out":               {dir, hard("d/h", "../victim")},
		"hard link to the cwd":        {dir, hard("d/h", "victim")},
		"hard link absolute":          {dir, hard("d/h", "OUTER/victim"), file("d/h")},
		"hard link through a link":    {dir, link("d/l", ".."), hard("d/h", "d/l/victim")},
		"hard link to a link":         {dir, link("d/l", "x"), hard("d/h", "d/l"), file("d/h")},
		"hard link beside":            {dir, hard("d/h", "beside.txt")},
		"character device":            {dir, {name: "d/dev", kind: tar.TypeChar}},
		"block device":                {dir, {name: "d/dev", kind: tar.TypeBlock}},
		"pipe":                        {dir, {name: "d/pipe", kind: tar.TypeFifo}},
		"unknown kind":                {dir, {name: "d/what", kind: 'Z'}},
		"twice":                       {dir, file("d/a"), file("d/a")},
		"file, then directory":        {dir, file("d/a"), file("d/a/b")},
		"control in a name":           {dir, file("d/a\nstet: forged")},
		"escape in a link":            {dir, link("d/l", "\x1b]0;forged\x07/../../..")},
		"long name":                   {dir, file("d/" + strings.Repeat("x", 300))},
		"name by PAX":                 {dir, {name: "path=../victim", kind: tar.TypeXHeader}, file("d/l")},
		"link by PAX":                 {dir, {name: "linkpath=../../victim", kind: tar.TypeXHeader}, link("d/l", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			outer := d.nested()
			for i := range entries {
				entries[i].name = strings.ReplaceAll(entries[i].name, "OUTER", outer[1:])
				entries[i].to = strings.ReplaceAll(entries[i].to, "OUTER", outer)
			}
			s := newShelf()
			packed(s, "d", tarball(entries...))
			h := newHostile(t, s.ServeHTTP)
			o := d.stet(quick("pull", h.Name()+"/app:v1")...)
			d.untouched(outer)
			o.fails(6, 7).never("\x1b", "\nstet: forged")
			d.leftAlone()
			// Where the directory is there already, it stays as it was.
			d.write("d/old", "old\n")
			d.stet(quick("pull", h.Name()+"/app:v1")...).fails(6, 7)
			d.untouched(outer)
			if files := d.files(); !slices.Equal(files, []string{"d/", "d/old"}) || d.read("d/old") != "old\n" {
				t.Errorf("there is %q now", files)
			}
		})
	}
}

// Set-id and sticky bits, owners and extended attributes of an archive are
// dropped; links that stay inside are made.
func TestCase71PackedRights(t *testing.T) {
	t.Parallel()
	s := newShelf()
	packed(s, "d", tarball(
		entryOf{name: "d", kind: tar.TypeDir, mode: 0o7777},
		entryOf{name: "d/suid", kind: tar.TypeReg, to: "#!/bin/sh\n", mode: 0o6755, pax: map[string]string{"SCHILY.xattr.security.capability": "\x01", "SCHILY.xattr.user.x": "1"}},
		entryOf{name: "d/sub/", kind: tar.TypeDir, mode: 0o3777},
		entryOf{name: "d/sub/link", kind: tar.TypeSymlink, to: "../suid"},
		entryOf{name: "d/hard", kind: tar.TypeLink, to: "d/suid"},
	))
	h := newHostile(t, s.ServeHTTP)
	d := newDesk(t)
	d.stet(quick("pull", h.Name()+"/app:v1")...).ok()
	for name, mode := range map[string]os.FileMode{"d": 0o755, "d/suid": 0o755, "d/sub": 0o755, "d/hard": 0o755} {
		info, err := os.Lstat(filepath.Join(d.Dir, name))
		if err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeSticky) != 0 || info.Mode().Perm() != mode {
			t.Errorf("%s is %v, %v", name, info.Mode(), err)
		}
		checkOwner(t, info)
	}
	if to, err := os.Readlink(filepath.Join(d.Dir, "d/sub/link")); err != nil || to != "../suid" {
		t.Errorf("the link is %q, %v", to, err)
	}
	// The output directory as the packed one: its mode is the user's.
	s = newShelf()
	packed(s, ".", tarball(entryOf{name: ".", kind: tar.TypeDir, mode: 0o777}, entryOf{name: "a", kind: tar.TypeReg, to: "a\n"}))
	h = newHostile(t, s.ServeHTTP)
	d = newDesk(t)
	if err := os.Chmod(d.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o := d.stet(quick("pull", h.Name()+"/app:v1")...)
	if info, err := os.Stat(d.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s\nthe directory is %v now, %v", o, info.Mode(), err)
	}
}

// Case 72: packed: wrong content digest; wrong blob: exit ≠ 0, nothing unpacked.
func TestCase72PackedWrong(t *testing.T) {
	t.Parallel()
	good := tarball(entryOf{name: "d/", kind: tar.TypeDir}, entryOf{name: "d/a", kind: tar.TypeReg, to: "a\n"})
	other := tarball(entryOf{name: "d/", kind: tar.TypeDir}, entryOf{name: "d/a", kind: tar.TypeReg, to: "b\n"})
	late := squeezed(good)
	for name, change := range map[string]func(s *shelf, d store.Descriptor) []store.Descriptor{
		"content digest of another": func(_ *shelf, d store.Descriptor) []store.Descriptor {
			d.Annotations[contentKey] = digest.FromBytes(other).String()
			return []store.Descriptor{d}
		},
		"content digest is none": func(_ *shelf, d store.Descriptor) []store.Descriptor {
			d.Annotations[contentKey] = "sha256:../../x"
			return []store.Descriptor{d}
		},
		"other blob": func(s *shelf, d store.Descriptor) []store.Descriptor {
			s.set("/v2/app/blobs/"+d.Digest.String(), item{octetsType, []byte(squeezed(other)), d.Digest.String()})
			return []store.Descriptor{d}
		},
		"a byte more after the end of the tar": func(s *shelf, d store.Descriptor) []store.Descriptor {
			s.set("/v2/app/blobs/"+d.Digest.String(), item{octetsType, []byte(late + "x"), d.Digest.String()})
			return []store.Descriptor{d}
		},
		"last byte flipped": func(s *shelf, d store.Descriptor) []store.Descriptor {
			raw := []byte(late)
			raw[len(raw)-1] ^= 1
			s.set("/v2/app/blobs/"+d.Digest.String(), item{octetsType, raw, d.Digest.String()})
			return []store.Descriptor{d}
		},
		"more after the end of the tar, under its digest": func(s *shelf, d store.Descriptor) []store.Descriptor {
			more := s.blob(squeezed(append(slices.Clone(good), bytes.Repeat([]byte("x"), 1024)...)))
			more.MediaType, more.Annotations = d.MediaType, d.Annotations
			return []store.Descriptor{more}
		},
		"cut tar, under its digest": func(s *shelf, d store.Descriptor) []store.Descriptor {
			cut := s.blob(squeezed(good[:1024]))
			cut.MediaType, cut.Annotations = d.MediaType, d.Annotations
			return []store.Descriptor{cut}
		},
		"no gzip, under its digest": func(s *shelf, d store.Descriptor) []store.Descriptor {
			plain := s.blob("this is no archive")
			plain.MediaType, plain.Annotations = d.MediaType, d.Annotations
			return []store.Descriptor{plain}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			d := packed(s, "d", good)
			s.artifact(change(s, d), "v1")
			h := newHostile(t, s.ServeHTTP)
			at := newDesk(t)
			at.stet(quick("pull", h.Name()+"/app:v1")...).fails(7)
			at.leftAlone()
			at.write("d/a", "old\n")
			at.stet(quick("pull", h.Name()+"/app:v1")...).fails(7)
			if at.read("d/a") != "old\n" {
				t.Errorf("d/a is %q now", at.read("d/a"))
			}
		})
	}
}

// bomb is a gzip of a tar with one file of n bytes, all zero.
func bomb(n int64) string {
	const piece = 1 << 24
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "d/zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: n})
	zeros := squeezed(make([]byte, piece)) // a gzip may have several members
	return squeezed(b.Bytes()) + strings.Repeat(zeros, int(n/piece)) + squeezed(make([]byte, 1024))
}

// Case 73: 2 MB that unpack to 2 GB: memory bounded; a limit to set.
func TestCase73Bomb(t *testing.T) {
	t.Parallel()
	s := newShelf()
	d := s.blob(bomb(2 << 30))
	if d.Size > 3<<20 {
		t.Fatalf("the bomb has %d bytes", d.Size)
	}
	d.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	d.Annotations = map[string]string{titleKey: "d", unpackKey: "true"}
	s.artifact([]store.Descriptor{d}, "v1")
	h := newHostile(t, s.ServeHTTP)
	at := newDesk(t)
	at.stet(quick("pull", "--max-unpacked", "32MiB", h.Name()+"/app:v1")...).fails(6).says("33554432")
	at.leftAlone()

	// Many entries, and a sparse file of a size that nothing has.
	s = newShelf()
	var many []entryOf
	for i := range 2000 {
		many = append(many, entryOf{name: fmt.Sprintf("d/%d", i), kind: tar.TypeReg})
	}
	packed(s, "d", tarball(many...))
	h = newHostile(t, s.ServeHTTP)
	at.stet(quick("pull", "--max-entries", "1000", h.Name()+"/app:v1")...).fails(6).says("1000")
	at.leftAlone()
	at.stet(quick("pull", "--max-entries", "2000", "--max-unpacked", "0", h.Name()+"/app:v1")...).ok()

	// The limits themselves.
	for _, bad := range [][]string{{"--max-entries", "-1"}, {"--max-unpacked", "-1"}, {"--max-unpacked", "much"}} {
		at.stet(append([]string{"pull", h.Name() + "/app:v1"}, bad...)...).fails(2)
	}
}
