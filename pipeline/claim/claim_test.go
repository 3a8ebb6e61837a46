package claim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/claim"
)

const (
	commit  = "0123456789abcdef0123456789abcdef01234567"
	release = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	nonce   = "call-42-of-7"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func declared() *environments.Declarations {
	return &environments.Declarations{
		App:          &environments.App{Name: "shop"},
		Environments: []*environments.Environment{{Name: "staging", Target: "local"}},
		Trust:        &environments.Trust{},
	}
}

func known() []checks.Check {
	parameters := func(in checks.Input) map[string]string { return map[string]string{"tree": in.TreeDigest} }
	return []checks.Check{
		{Name: "tests", Version: 2, Scope: checks.OfRelease, Parameters: parameters},
		{Name: "load", Version: 1, Scope: checks.OfRelease, InEnv: true, Parameters: parameters},
	}
}

func input(environment string) (checks.Input, error) {
	d := declared()
	if environment == "" {
		environment = "staging"
	}
	e := d.Environment(environment)
	if e == nil {
		return checks.Input{}, fmt.Errorf("environment %q is not declared", environment)
	}
	return checks.Input{Declarations: d, Environment: e, Release: release, TreeDigest: "sha256:tree"}, nil
}

func asked() claim.Asked {
	return claim.Asked{
		App: "shop", Commit: commit, Release: release, Nonce: nonce, Since: began, Until: began.Add(time.Hour),
		Machines: []string{"linux/amd64/4cpu"}, Checks: known(), Input: input,
	}
}

// honest is what an honest machine hands over.
func honest(t *testing.T) *claim.Folder {
	t.Helper()
	f := &claim.Folder{Claim: claim.Claim{
		Format: claim.Format, App: "shop", Commit: commit, Release: release, Environment: "staging", Machine: "linux/amd64/4cpu",
		Nonce: nonce, Started: began, Finished: began.Add(10 * time.Minute),
	}}
	for _, c := range known() {
		in, err := input("")
		if err != nil {
			t.Fatal(err)
		}
		in.Machine = "linux/amd64/4cpu"
		e := checks.Taken{
			Measurement: checks.Measurement{Status: checks.Completed, Payload: map[string]int{"passed": 3}},
			Started:     began.Add(time.Minute), Finished: began.Add(2 * time.Minute),
		}.Evidence(c, in)
		e.Nonce = nonce
		f.Evidence = append(f.Evidence, e)
	}
	return f
}

func TestHonestClaimIsTakenWhole(t *testing.T) {
	t.Parallel()
	f := honest(t)
	got, err := asked().Admit(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.Evidence, got); diff != "" {
		t.Errorf("admitted evidence differs (-claimed +admitted):\n%s", diff)
	}
}

func TestEvidenceOfAChangeSaysSoWhateverItClaims(t *testing.T) {
	t.Parallel()
	a := asked()
	a.Change = true
	got, err := a.Admit(honest(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got {
		if e.Trust != checks.TrustChange {
			t.Errorf("%s has trust %s", e.Check, e.Trust)
		}
	}
	a.Change = false
	f := honest(t)
	f.Evidence[0].Trust = checks.TrustChange
	if got, err = a.Admit(f); err != nil || got[0].Trust != checks.TrustChange {
		t.Errorf("trust change became %v, %v: it must not rise", got, err)
	}
}

func TestWhatStoppedEarlyIsTakenForAChangeAlone(t *testing.T) {
	t.Parallel()
	stops := func(a claim.Asked) claim.Asked {
		a.Checks = known()
		tree := a.Checks[1].Parameters
		a.Checks[1].Parameters = func(in checks.Input) map[string]string {
			p := tree(in)
			if in.Proposal {
				p["stop"] = "early"
			}
			return p
		}
		return a
	}
	a := stops(asked())
	f := honest(t)
	in, _ := input("")
	in.Machine, in.Proposal = "linux/amd64/4cpu", true
	early := checks.Taken{
		Measurement: checks.Measurement{Status: checks.Completed, Payload: 1}, Started: f.Evidence[1].Started, Finished: f.Evidence[1].Finished,
	}.Evidence(a.Checks[1], in)
	early.Nonce = nonce
	if early.Key == f.Evidence[1].Key {
		t.Fatal("the keys are the same")
	}
	whole := f.Evidence[1]
	f.Evidence[1] = early
	if _, err := a.Admit(f); !errors.Is(err, claim.ErrRefused) {
		t.Errorf("for a promotion: %v", err)
	}
	a.Change = true
	got, err := a.Admit(f)
	if err != nil || got[1].Key != early.Key || got[1].Trust != checks.TrustChange {
		t.Errorf("for a change: %v %+v", err, got)
	}
	f.Evidence[1] = whole
	if _, err := a.Admit(f); err != nil {
		t.Errorf("a full measurement for a change: %v", err)
	}
	// A key of one with the parameters of the other is neither.
	f.Evidence[1].Parameters = early.Parameters
	if _, err := a.Admit(f); !errors.Is(err, claim.ErrRefused) {
		t.Errorf("a mixture: %v", err)
	}
}

func TestForgedClaimsAreRefusedWhole(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(*claim.Folder)
		says  string
	}{
		"another call's nonce":            {func(f *claim.Folder) { f.Claim.Nonce = "call-41-of-7" }, "another call"},
		"no nonce":                        {func(f *claim.Folder) { f.Claim.Nonce = "" }, "another call"},
		"a nonce that is a prefix":        {func(f *claim.Folder) { f.Claim.Nonce = nonce[:8] }, "another call"},
		"another app":                     {func(f *claim.Folder) { f.Claim.App = "bank" }, "not about shop"},
		"another commit":                  {func(f *claim.Folder) { f.Claim.Commit = strings.Repeat("f", 40) }, "not " + commit},
		"another release":                 {func(f *claim.Folder) { f.Claim.Release = "sha256:bb" }, "becomes release"},
		"no evidence":                     {func(f *claim.Folder) { f.Evidence = nil }, "no evidence"},
		"old evidence with its own nonce": {func(f *claim.Folder) { f.Evidence[1].Nonce = "call-41-of-7" }, "another call"},
		"evidence without a nonce":        {func(f *claim.Folder) { f.Evidence[1].Nonce = "" }, "another call"},
		"evidence from before the call":   {func(f *claim.Folder) { f.Evidence[0].Started = began.Add(-time.Minute) }, "outside of the call"},
		"evidence from after the call":    {func(f *claim.Folder) { f.Evidence[0].Finished = began.Add(2 * time.Hour) }, "outside of the call"},
		"evidence that ends before it began": {func(f *claim.Folder) {
			f.Evidence[0].Started, f.Evidence[0].Finished = f.Evidence[0].Finished, f.Evidence[0].Started
		}, "ends before it begins"},
		"evidence without times":     {func(f *claim.Folder) { f.Evidence[0].Started = time.Time{} }, "outside of the call"},
		"a check that is not there":  {func(f *claim.Folder) { f.Evidence[0].Check = "vibes" }, "no such check"},
		"another version of a check": {func(f *claim.Folder) { f.Evidence[0].Version = 1 }, "version"},
		"a check twice":              {func(f *claim.Folder) { f.Evidence = append(f.Evidence, f.Evidence[0]) }, "twice"},
		"another subject":            {func(f *claim.Folder) { f.Evidence[0].Subject.Digest = "sha256:bb" }, "subject"},
		"another key":                {func(f *claim.Folder) { f.Evidence[0].Key = "sha256:bb" }, "key"},
		"another tree": {func(f *claim.Folder) {
			f.Evidence[0].Parameters = maps.Clone(f.Evidence[0].Parameters)
			f.Evidence[0].Parameters["tree"] = "sha256:other"
		}, "parameters"},
		"a parameter too many":        {func(f *claim.Folder) { f.Evidence[0].Parameters["x"] = "y" }, "parameters"},
		"a machine that nobody lists": {func(f *claim.Folder) { f.Evidence[0].Parameters["machine"] = "linux/amd64/96cpu" }, "machine"},
		"no machine":                  {func(f *claim.Folder) { delete(f.Evidence[0].Parameters, "machine") }, "machine"},
		"another environment":         {func(f *claim.Folder) { f.Evidence[1].Environment = "production" }, "not declared"},
		"no environment":              {func(f *claim.Folder) { f.Evidence[1].Environment = "" }, "environment"},
		"an unknown status":           {func(f *claim.Folder) { f.Evidence[0].Status = "green" }, "status"},
		"an unknown trust":            {func(f *claim.Folder) { f.Evidence[0].Trust = "full" }, "trust"},
		"completed without a payload": {func(f *claim.Folder) { f.Evidence[0].Payload = nil }, "says nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := honest(t)
			tc.spoil(f)
			got, err := asked().Admit(f)
			if !errors.Is(err, claim.ErrRefused) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("error is %v, want a refusal that says %q", err, tc.says)
			}
			if got != nil {
				t.Errorf("%d statements were taken of a refused claim", len(got))
			}
		})
	}
}

func TestACallThatAsksNothingIsNoCall(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*claim.Asked){
		"short nonce":          func(a *claim.Asked) { a.Nonce = "1" },
		"no beginning":         func(a *claim.Asked) { a.Since = time.Time{} },
		"ends before it began": func(a *claim.Asked) { a.Until = a.Since.Add(-time.Second) },
		"no commit":            func(a *claim.Asked) { a.Commit = "" },
	} {
		a := asked()
		spoil(&a)
		if got, err := a.Admit(honest(t)); err == nil || got != nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestAFolderIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := honest(t)
	for range 2 { // the second time over the first
		if err := claim.Write(dir, want.Claim, want.Evidence); err != nil {
			t.Fatal(err)
		}
	}
	got, err := claim.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asked().Admit(got); err != nil {
		t.Errorf("what was written and read is refused: %v", err)
	}
}

func TestHostileFoldersAreRefused(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"no claim":    func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "claim.json")) },
		"no evidence": func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, "evidence")) },
		"a giant file": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "claim.json"), `{"app":"`+strings.Repeat("a", 5<<20)+`"}`)
		},
		"binary":     func(t *testing.T, dir string) { write(t, filepath.Join(dir, "claim.json"), "\x7fELF\x00\x01") },
		"an array":   func(t *testing.T, dir string) { write(t, filepath.Join(dir, "claim.json"), `[]`) },
		"two values": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "claim.json"), `{"format":1}{}`) },
		"a key twice": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "claim.json"), `{"format":1,"nonce":"a","Nonce":"b"}`)
		},
		"an unknown key": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "claim.json"), `{"format":1,"verdict":"pass"}`)
		},
		"cut short":      func(t *testing.T, dir string) { write(t, filepath.Join(dir, "claim.json"), `{"format":1,"app":`) },
		"another format": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "claim.json"), `{"format":2}`) },
		"nested too deep": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "evidence", "tests.json"), `{"payload":`+strings.Repeat(`{"a":`, 100)+`1`+strings.Repeat(`}`, 101))
		},
		"a link": func(t *testing.T, dir string) {
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "evidence", "scan.json")); err != nil {
				t.Fatal(err)
			}
		},
		"a claim that is a link": func(t *testing.T, dir string) {
			os.Remove(filepath.Join(dir, "claim.json"))
			if err := os.Symlink("/proc/self/environ", filepath.Join(dir, "claim.json")); err != nil {
				t.Fatal(err)
			}
		},
		"a folder of that name": func(t *testing.T, dir string) { os.Mkdir(filepath.Join(dir, "evidence", "scan.json"), 0o755) },
		"a strange name":        func(t *testing.T, dir string) { write(t, filepath.Join(dir, "evidence", "a b.json"), `{}`) },
		"a name that is none":   func(t *testing.T, dir string) { write(t, filepath.Join(dir, "evidence", "tests.sh"), `{}`) },
		"too many files": func(t *testing.T, dir string) {
			for i := range 80 {
				write(t, filepath.Join(dir, "evidence", fmt.Sprintf("c%d.json", i)), `{}`)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := honest(t)
			if err := claim.Write(dir, f.Claim, f.Evidence); err != nil {
				t.Fatal(err)
			}
			spoil(t, dir)
			if f, err := claim.Read(dir); !errors.Is(err, claim.ErrRefused) {
				t.Errorf("read %v, error %v: want a refusal", f, err)
			}
		})
	}
}

func FuzzReadRefusesOrUnderstands(f *testing.F) {
	good, err := json.Marshal(claim.Claim{Format: claim.Format, Nonce: nonce})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"started":"x"}`))
	f.Add([]byte(`{"a":[{"b":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := claim.Write(dir, claim.Claim{}, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "claim.json"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := claim.Read(dir); err != nil && !errors.Is(err, claim.ErrRefused) {
			t.Errorf("error %v is no refusal", err)
		}
		if _, err := claim.Read(dir); err == nil && !json.Valid(b) {
			t.Errorf("read what is no JSON: %q", b)
		}
	})
}
