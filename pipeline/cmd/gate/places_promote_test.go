package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brief are thresholds that the short measurements of the small app can meet.
const brief = `thresholds:
  load: {min_seconds: 2, min_users: 5, min_requests: 20, success: 0.9, p95_seconds: 1, p99_seconds: 2}
  update: {min_requests: 50, slack_seconds: 0.5}
` + shortDrills

// past is what gate history says of one promotion.
type past struct {
	Request, State, Why, Release, Commit string
	Code                                 int
	Dirty                                bool
}

// TestPlacesOfARelease follows releases to where they must not go: without a
// secret, or with changes that are in no commit.
func TestPlacesOfARelease(t *testing.T) {
	drill(t)
	w := foreignWorld(t)
	for _, e := range []string{"staging", "production"} {
		w.append("environments/"+e+".yaml", brief)
	}
	// Neither tests nor scan depend on these, and need not be run again.
	w.replace("environments/app.yaml", `  - "**/*.md"`, "  - \"**/*.md\"\n  - environments/*")
	w.replace("environments/staging.yaml", "promotion:", "secrets:\n  API_TOKEN: {env: TOKEN_THAT_IS_NOT_SET}\n  OTHER_TOKEN: {env: TOKEN_THAT_IS_SET}\npromotion:")
	w.commit("secrets")
	const value = "b7f0-value-of-a-secret"
	w.env = append(w.env, "TOKEN_THAT_IS_SET="+value)

	t.Run("without a secret", func(t *testing.T) {
		clone := snapshot(t, w.clone)
		r := w.want(1, "deploy", "staging", "-o", "json")
		o := parsed[outcome](t, r)
		if want := "secret API_TOKEN: the environment variable TOKEN_THAT_IS_NOT_SET is not set"; !strings.Contains(o.Summary, want) || o.Exit != 1 {
			t.Errorf("want %q\n%s", want, r)
		}
		if plain(t, "gate deploy staging", r, []string{"secret API_TOKEN", "TOKEN_THAT_IS_NOT_SET"}); strings.Contains(r.out+r.err, value) {
			t.Errorf("a secret is said\n%s", r)
		}
		w.hides(t, value)
		if all := status(t, w, "staging"); all.Desired != "" || all.Actual.Stable != "" {
			t.Errorf("something serves: %+v", all)
		}
		for _, h := range w.history(t, "staging") {
			if h.State != "errored" {
				t.Errorf("history says %+v", h)
			}
		}
		if diff := cmp.Diff(clone, snapshot(t, w.clone)); diff != "" {
			t.Errorf("the clone was changed: %s", diff)
		}
	})

	// The mistake is mended in the work tree, and not committed.
	w.replace("environments/staging.yaml", "  API_TOKEN: {env: TOKEN_THAT_IS_NOT_SET}\n", "")
	o := w.runs(3, "--through", "production")
	dirty := func(t *testing.T, reason string) {
		t.Helper()
		if !strings.Contains(reason, "uncommitted changes") {
			t.Errorf("the reason is not said: %q", reason)
		}
	}
	t.Run("with uncommitted changes, in staging", func(t *testing.T) {
		if s := status(t, w, "staging"); s.Desired != o.Release || s.Actual.Stable != o.Release || !s.DesiredDirty {
			t.Errorf("status of staging: %+v", s)
		}
		if h := w.history(t, "staging"); h[0].State != "succeeded" || !h[0].Dirty || h[len(h)-1].Dirty {
			t.Errorf("history of staging: %+v", h)
		}
		if r := w.want(0, "status", "staging"); !strings.Contains(r.out, "with uncommitted changes") {
			t.Errorf("people are not told\n%s", r)
		}
		w.hides(t, value)
	})
	untouched := func(t *testing.T) {
		t.Helper()
		if s := status(t, w, "production"); s.Desired != "" || s.Actual.Stable != "" || len(s.Actual.Instances) > 0 {
			t.Errorf("production was touched: %+v", s)
		}
		for _, h := range w.history(t, "production") {
			if h.State != "failed" || h.Code != 3 || !h.Dirty {
				t.Errorf("history of production: %+v", h)
			}
		}
	}
	t.Run("with uncommitted changes, not in production", func(t *testing.T) {
		dirty(t, o.Summary)
		untouched(t)
		r := w.want(3, "promote", o.Release, "--to", "production", "-o", "json")
		dirty(t, parsed[past](t, r).Why)
		untouched(t)
		if h := w.history(t, "production"); len(h) != 2 {
			t.Errorf("both requests should be on record: %+v", h)
		}
	})
	t.Run("decisions in JSON", func(t *testing.T) {
		keys(t, w.want(0, "decide", "staging", "-o", "json"))
		r := w.want(3, "decide", "production", "-o", "json")
		keys(t, r)
		dirty(t, r.out)
	})
	t.Run("back to nothing", func(t *testing.T) {
		for _, e := range []string{"staging", "production"} {
			if r := w.want(2, "rollback", e); !strings.Contains(r.err, "nothing served in "+e+" before") {
				t.Errorf("%s", r)
			}
		}
	})
	t.Run("down twice", func(t *testing.T) {
		if d := parsed[map[string]any](t, w.want(0, "down", "staging", "-o", "json")); d["ran"] != true {
			t.Errorf("got %v", d)
		}
		if r := w.want(0, "down", "staging"); r.out != "staging does not run\n" {
			t.Errorf("%s", r)
		}
	})
}

// standing is what gate status says of one environment.
type standing struct {
	Desired      string `json:"desired"`
	DesiredDirty bool   `json:"desired_dirty"`
	Actual       struct {
		Stable    string
		Instances []any
	} `json:"actual"`
}

func status(t *testing.T, w *world, environment string) standing {
	t.Helper()
	all := parsed[[]standing](t, w.want(0, "status", environment, "-o", "json"))
	if len(all) != 1 {
		t.Fatalf("status of one environment: %+v", all)
	}
	return all[0]
}

func (w *world) history(t *testing.T, environment string) []past {
	t.Helper()
	h := parsed[[]past](t, w.want(0, "history", environment, "-o", "json"))
	if len(h) == 0 {
		t.Fatalf("%s has no history", environment)
	}
	return slices.DeleteFunc(h, func(p past) bool { return p.Request == "" }) // the daemon's own operations
}

// keys fails unless the decision has the keys of the contract. A new one is to be
// added here; that one is gone or has another name breaks who reads it.
func keys(t *testing.T, r result) {
	t.Helper()
	d := parsed[map[string]json.RawMessage](t, r)
	want := []string{"at", "commit", "criteria", "decision", "environment", "input_digest", "policy_digest", "release", "stage", "verdict"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(d))); diff != "" {
		t.Errorf("keys of a decision: %s", diff)
	}
	var criteria []map[string]json.RawMessage
	if err := json.Unmarshal(d["criteria"], &criteria); err != nil || len(criteria) == 0 {
		t.Fatalf("criteria: %v\n%s", err, r)
	}
	want = []string{"evidence", "got", "id", "next", "title", "verdict", "want", "why"}
	for _, c := range criteria {
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(c))); diff != "" {
			t.Errorf("keys of a criterion: %s", diff)
		}
		if s := string(c["evidence"]); !strings.HasPrefix(s, "[") {
			t.Errorf("evidence of %s is %s, not a list", c["id"], s)
		}
	}
}
