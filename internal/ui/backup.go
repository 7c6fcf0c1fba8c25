package ui

import (
	"fmt"
	"io"
	"time"
)

// KeptRepository is a repository of a backup, and what became of its tags.
type KeptRepository struct {
	Repository string          `json:"repository"` // "host/repository", whence or whither
	Name       string          `json:"name"`       // in the backup; "" where that is one repository
	Tags       List[CopiedTag] `json:"tags"`
	Copied     int             `json:"copied"`
	WouldCopy  int             `json:"wouldCopy,omitempty"` // of a dry run
	Exist      int             `json:"exist"`
	Failed     int             `json:"failed"`
	Referrers  int             `json:"referrers"`
	Reread     int             `json:"reread,omitempty"` // blobs that were in the backup before, and were proven again
	Mended     int             `json:"mended,omitempty"` // content that was damaged in the backup
	Error      string          `json:"error,omitempty"`
	Took       time.Duration   `json:"-"`
}

// BackupResult is what backup and restore did. ORAS has no such result; the
// keys are ours.
type BackupResult struct {
	Path         string               `json:"path"`
	Repositories List[KeptRepository] `json:"repositories"`
	Counts       Counts               `json:"counts"`
	DryRun       bool                 `json:"dryRun,omitempty"`
	Fallbacks    List[FallbackTaken]  `json:"fallbacks"`
	Warnings     List[string]         `json:"warnings,omitempty"`
}

// Tell adds what a recorder has seen.
func (r *BackupResult) Tell(seen *Recorder) {
	notes := seen.Notes()
	r.Fallbacks, r.Warnings = notes.Fallbacks, notes.Warnings
	if !r.DryRun {
		r.Counts = seen.Counts()
	}
}

// Estimate adds what a dry run has counted.
func (r *BackupResult) Estimate(c Counts) {
	r.Counts.Sent += c.Sent
	r.Counts.Mounted += c.Mounted
	r.Counts.Present += c.Present
	r.Counts.Bytes += c.Bytes
	r.Counts.Skipped += c.Skipped
	r.Counts.Manifests += c.Manifests
}

// BackupText writes a line for each repository, in the words of ORAS where all
// went well.
func (r BackupResult) BackupText(out io.Writer) error {
	var l lines
	for _, k := range r.Repositories {
		done, all := k.Copied+k.Exist, len(k.Tags)
		if all == 0 && k.Error == "" {
			l.add(fmt.Sprintf("Skipped %q: no tags", k.Repository))
		} else if done == all && k.Error == "" {
			l.add(fmt.Sprintf("Successfully backed up %d tag(s) from %q to %q in %s.", done, k.Repository, r.Path, span(k.Took)))
		} else {
			l.add(fmt.Sprintf("Backed up %d of %d tag(s) from %q to %q", done, all, k.Repository, r.Path))
		}
	}
	return l.write(out)
}

// RestoreText is BackupText for the way back.
func (r BackupResult) RestoreText(out io.Writer) error {
	var l lines
	for _, k := range r.Repositories {
		done, all := k.Copied+k.WouldCopy+k.Exist, len(k.Tags)
		whole := done == all && k.Error == ""
		switch {
		case r.DryRun && !whole:
			l.add(fmt.Sprintf("Dry run: %d of %d tag(s) would be restored to %q (no data pushed)", done, all, k.Repository))
		case !whole:
			l.add(fmt.Sprintf("Restored %d of %d tag(s) to %q", done, all, k.Repository))
		case r.DryRun:
			l.add(fmt.Sprintf("Dry run complete: %d tag(s) would be restored to %q (no data pushed)", done, k.Repository))
		default:
			l.add(fmt.Sprintf("Successfully restored %d tag(s) to %q in %s", done, k.Repository, span(k.Took)))
		}
	}
	return l.write(out)
}

// span is a duration as people read it: no more than it is worth.
func span(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Add tells of one tag.
func (k *KeptRepository) Add(t CopiedTag) {
	switch t.Outcome {
	case OutcomeFailed:
		k.Failed++
	case OutcomeExists:
		k.Exist++
	case OutcomeCopied:
		k.Copied++
	case OutcomeWould:
		k.WouldCopy++
	}
	k.Tags = append(k.Tags, t)
}

// BackupVerbs gives the verbs of backup.
func BackupVerbs() Verbs {
	return Verbs{Start: "Pulling", Sent: "Pulled", Present: "Exists", Again: "Skipped", Mounted: "Linked"}
}

// RestoreVerbs gives the verbs of restore.
func RestoreVerbs() Verbs {
	return Verbs{Start: "Pushing", Sent: "Pushed", Present: "Exists", Again: "Skipped", Mounted: "Mounted"}
}
