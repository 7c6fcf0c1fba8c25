package store_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stet-oci/stet/pkg/store"
)

// TestAnswerInJSON: an answer is a word, and no other word is one.
func TestAnswerInJSON(t *testing.T) {
	t.Parallel()
	for _, a := range []store.Answer{store.Unknown, store.Yes, store.No} {
		raw, err := json.Marshal(store.Finding{Answer: a})
		if want := `{"answer":"` + a.String() + `","evidence":{}}`; err != nil || string(raw) != want {
			t.Errorf("%s, %v, want %s", raw, err, want)
		}
		var f store.Finding
		if err := json.Unmarshal(raw, &f); err != nil || f.Answer != a {
			t.Errorf("%s reads as %s, %v", raw, f.Answer, err)
		}
	}
	var a store.Answer
	if err := a.UnmarshalText([]byte("maybe")); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("maybe reads as %s, %v", a, err)
	}
}

func TestAbilitiesAreDistinct(t *testing.T) {
	t.Parallel()
	all := slices.Clone(store.Abilities())
	slices.Sort(all)
	if got := slices.Compact(slices.Clone(all)); len(got) != len(all) {
		t.Errorf("an ability is listed twice: %q", all)
	}
}

// TestCarry: what can be copied is what the destination takes, and unknown stays unknown.
func TestCarry(t *testing.T) {
	t.Parallel()
	is := func(a store.Answer) store.Finding { return store.Finding{Answer: a} }
	from := store.Support{store.AbilitySHA512: is(store.No), store.AbilityArtifactManifests: is(store.Yes)}
	to := store.Support{
		store.AbilityArtifactType: is(store.Yes), store.AbilityArtifactManifests: is(store.No),
		store.AbilitySHA512: is(store.No), store.AbilityReferrersAPI: is(store.No),
	}
	got := map[store.Ability]string{}
	for _, c := range store.Carry(from, to) {
		got[c.Ability] = c.Answer.String() + " " + c.Note
	}
	want := map[store.Ability]string{
		store.AbilityArtifactType:          "yes ",
		store.AbilityEmptyLayers:           "unknown ",
		store.AbilityNestedIndex:           "unknown ",
		store.AbilityArtifactManifests:     "no unless they are converted, which gives them other digests",
		store.AbilityORASArtifactManifests: "unknown ",
		store.AbilitySHA512:                "no the source takes none either",
		store.AbilityMaxManifest:           "unknown ",
		store.AbilityReferrersAPI:          "yes listed under the referrers tag, which clients write",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for answer, want := range map[store.Answer]string{store.Yes: "yes listed by the referrers API", store.Unknown: "unknown whether there is a referrers API is not known"} {
		all := store.Carry(nil, store.Support{store.AbilityReferrersAPI: is(answer)})
		if last := all[len(all)-1]; last.Answer.String()+" "+last.Note != want {
			t.Errorf("referrers: %+v", last)
		}
	}
}
