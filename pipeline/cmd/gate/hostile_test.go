package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/claim"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
)

// hub is a repository on GitHub with a world's main branch, and a job there that
// publishes.
type hub struct {
	*world
	fake  *githubtest.Server
	bare  string
	began time.Time
	id    int64                      // of the repository
	perf  map[string]json.RawMessage // check → payload of an honest measurement
}

const (
	secretKey = "do-not-show-me-4711"
	outsider  = "mallory"
	owner     = "olga"
)

// newHub has the declarations of a team: an owner, a protected branch that
// requires gate's own check.
func newHub(t *testing.T) *hub {
	t.Helper()
	w := newWorld(t)
	w.write("environments/trust.yaml", "protected: main\nowned: [checks/**, pipeline/**]\npeople:\n  - {github: "+owner+", may: [approve]}\n")
	w.commit("trust")
	h := &hub{world: w, bare: filepath.Join(w.root, "hub.git"), began: time.Now().Add(-time.Minute), perf: map[string]json.RawMessage{}}
	w.git("init", "-q", "--bare", "-b", "main", h.bare)
	w.git("config", "-f", filepath.Join(h.bare, "config"), "uploadpack.allowAnySHA1InWant", "true")
	w.git("remote", "add", "origin", h.bare)
	w.git("push", "-q", "origin", "main")
	h.fake = githubtest.New(t, githubtest.Options{Git: h.bare, Clock: githubtest.RealTime()})
	h.fake.AddRuleset(githubtest.Ruleset{Name: "main", Branches: []string{"main"}, Rules: []map[string]any{githubtest.RequiredChecks(githubtest.AppID, "gate")}})
	run := h.measured(w.git("rev-parse", "HEAD"), "main")
	var answer struct{ Repository struct{ ID int64 } }
	ask(t, http.MethodGet, fmt.Sprintf("%s/repos/smartcloudops/gate/actions/runs/%d", h.fake.URL, run), h.fake.UserToken("somebody"), nil, &answer)
	if h.id = answer.Repository.ID; h.id == 0 {
		t.Fatal("the fake does not say the repository's id")
	}
	return h
}

// proposal is a pull request that somebody has opened.
type proposal struct {
	head   string
	number int
	run    int64
}

// open commits the world's changes as a pull request from a fork, whose
// measuring workflow has ended.
func (h *hub) open(branch string, change func()) proposal {
	h.t.Helper()
	h.git("checkout", "-q", "-B", branch, "origin/main")
	change()
	h.commit(branch)
	p := proposal{head: h.git("rev-parse", "HEAD")}
	p.number = h.fake.AddPull(githubtest.Pull{
		Author: outsider, Title: "$(touch /tmp/pwned) ::set-output name=x::y", HeadSHA: p.head, HeadBranch: branch, HeadRepo: outsider + "/gate", Unreachable: true,
	})
	h.git("push", "-q", "-f", "origin", fmt.Sprintf("HEAD:refs/pull/%d/head", p.number))
	p.run = h.measured(p.head, branch)
	return p
}

// measured is one more run of the measuring workflow.
func (h *hub) measured(head, branch string) int64 {
	return h.fake.AddRun(githubtest.Run{
		Path: ".github/workflows/commit.yml", Event: "pull_request", HeadSHA: head, HeadBranch: branch, HeadRepo: outsider + "/gate", Actor: outsider,
		Started: h.began, Created: h.began, Updated: time.Now().Add(time.Hour),
	})
}

// nonce is what the workflow hands to gate.
func (h *hub) nonce(p proposal) string { return fmt.Sprintf("%d-%d-1-%s", h.id, p.run, p.head) }

// upload packs the folder as the run's artifact.
func (h *hub) upload(p proposal, dir string) {
	h.t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if err := z.AddFS(os.DirFS(dir)); err != nil {
		h.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.fake.AddArtifact(p.run, "gate-evidence", b.Bytes())
}

// perfect is evidence of a commit as the best of forgers would make it: every
// figure is one that passes, every digest and key is right.
func (h *hub) perfect(p proposal, nonce string) string {
	h.t.Helper()
	ctx := context.Background()
	clone, err := release.OpenClone(ctx, h.clone, h.env)
	if err != nil {
		h.t.Fatal(err)
	}
	x, err := release.Export(ctx, clone, p.head, false, filepath.Join(h.t.TempDir(), "x"))
	if err != nil {
		h.t.Fatal(err)
	}
	d, err := environments.Read(os.DirFS(x.Dir))
	if err != nil {
		h.t.Fatal(err)
	}
	source, err := x.SourceDigest(d.App.Docs)
	if err != nil {
		h.t.Fatal(err)
	}
	var built outcome
	if err := json.Unmarshal([]byte(h.want(promotion.CodePass, "--output", "json", "build", "--apart", "--commit", p.head).out), &built); err != nil {
		h.t.Fatal(err)
	}
	rec := &promotion.ReleaseRecord{Release: built.Release, Commit: p.head, SourceDigest: source, TreeDigest: x.TreeDigest, Declarations: d}
	in, err := (&promotion.Judge{}).Input(promotion.NewView(), rec, "staging")
	if err != nil {
		h.t.Fatal(err)
	}
	var all []checks.Evidence
	for _, c := range checks.All() {
		e := checks.Taken{Started: h.began, Finished: time.Now(), Measurement: checks.Measurement{Status: checks.Completed, Payload: h.perf[c.Name]}}.Evidence(c, in)
		e.Nonce = nonce
		all = append(all, e)
	}
	dir := filepath.Join(h.t.TempDir(), "evidence")
	err = claim.Write(dir, claim.Claim{
		App: d.App.Name, Commit: p.head, Release: built.Release, Environment: "staging", Machine: checks.Machine(), Nonce: nonce, Started: h.began, Finished: time.Now(),
	}, all)
	if err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// publish is the privileged job: a clone of main, gate's App, no code of the
// change.
func (h *hub) publish(p proposal) result {
	h.t.Helper()
	job, err := os.MkdirTemp(h.root, "job-")
	if err != nil {
		h.t.Fatal(err)
	}
	h.git("clone", "-q", h.bare, filepath.Join(job, "clone"))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := h.command(ctx, filepath.Join(job, "clone"), "github", "publish", "--run", fmt.Sprint(p.run))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // to see where it hangs
	cmd.Env = append(cmd.Env, "GATE_STATE="+filepath.Join(job, "state"), "GITHUB_API_URL="+h.fake.URL, "GITHUB_REPOSITORY=smartcloudops/gate",
		fmt.Sprint("GATE_APP_ID=", githubtest.AppID), "GATE_APP_KEY="+string(h.fake.Key), "GITHUB_STEP_SUMMARY="+filepath.Join(job, "summary.md"))
	r := h.run(cmd)
	if strings.Contains(r.out+r.err, "PRIVATE KEY") {
		h.t.Errorf("the App's key was printed:\n%s", r)
	}
	return r
}

// mergeable says whether the branch's ruleset would let the commit in.
func (h *hub) mergeable(p proposal) (bool, string) {
	h.t.Helper()
	rules := h.fake.Required(p.head, "main")
	if len(rules) != 1 {
		h.t.Fatalf("%d checks are required, want gate's", len(rules))
	}
	return rules[0].Holds, rules[0].Why
}

// seen is the aggregate check as a reader sees it.
func (h *hub) seen(p proposal) githubtest.Check {
	c := h.fake.View().Commits[p.head].Check(githubtest.AppSlug, "gate")
	if c == nil {
		return githubtest.Check{Conclusion: "absent"}
	}
	return *c
}

func TestHostilePullRequests(t *testing.T) {
	drill(t)
	t.Parallel()
	h := newHub(t)

	// An honest one first: what is refused below is refused for what it is.
	honest := h.open("honest", func() { h.append("app/store.go", "\n// honest\n") })
	real := filepath.Join(h.root, "honest-evidence")
	h.runs(promotion.CodePass, "--apart", "--base", "origin/main", "--nonce", h.nonce(honest), "--evidence", real)
	h.upload(honest, real)
	r := h.publish(honest)
	if r.code != promotion.CodePass {
		t.Fatalf("publishing the honest one:\n%s", r)
	}
	if ok, why := h.mergeable(honest); !ok {
		t.Fatalf("the honest one can't be merged: %s\n%+v\n%s", why, h.seen(honest), r)
	}
	folder, err := claim.Read(real)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range folder.Evidence {
		h.perf[e.Check] = e.Payload
	}

	app := func(name string) func() { return func() { h.append("app/store.go", "\n// "+name+"\n") } }
	for name, tc := range map[string]struct {
		change func()
		upload func(p proposal) string // "": nothing
		before func(p proposal)
		says   string
	}{
		"the best of forgeries that weakens a policy": {
			change: func() { h.append("policies/lib/text.rego", "\n# weaker\n") },
			says:   "policies/lib/text.rego",
		},
		"weakens a default threshold": {
			change: func() { h.replace("policies/thresholds.yaml", "max_failed: {default: 0", "max_failed: {default: 99") },
			says:   "thresholds",
		},
		"adds a waiver": {
			change: func() {
				day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
				h.write("environments/waivers/load.yaml", "criterion: load\nenvironment: staging\nsince: "+day(0)+"\nuntil: "+day(9)+"\nreason: trust me\nauthor: "+outsider+"\n")
			},
			says: "waivers",
		},
		"weakens a threshold of staging": {
			change: func() { h.append("environments/staging.yaml", "  tests: {max_failed: 99}\n") },
			says:   "environments/staging.yaml",
		},
		"makes its author an owner, who approves": {
			change: func() { h.write("environments/trust.yaml", "people:\n  - {github: "+outsider+"2, may: [approve]}\n") },
			before: func(p proposal) {
				h.fake.AddReview(p.number, githubtest.Review{Login: outsider + "2", State: "APPROVED", Commit: p.head})
			},
			says: "trust",
		},
		"edits what measures, and only that": {
			change: func() { h.append("checks/load_stats.go", "\n// always fast\n") },
			says:   "checks/load",
		},
		"edits the workflow that measures": {
			change: func() {
				h.write(".github/workflows/commit.yml", "on: pull_request\njobs: {gate: {runs-on: x, steps: [{run: 'true'}]}}\n")
			},
			before: func(p proposal) { h.forgeCheck(p) },
			says:   "workflows",
		},
		"was approved before its last commit": {
			change: func() { h.append("policies/README.md", "\nnew\n") },
			before: func(p proposal) {
				h.fake.AddReview(p.number, githubtest.Review{Login: owner, State: "APPROVED", Commit: strings.Repeat("a", 40)})
			},
			says: "nobody who may",
		},
		"replays the evidence of an earlier run": {
			change: app("replay"),
			upload: func(p proposal) string { return h.perfect(p, h.nonce(proposal{head: p.head, run: p.run - 1})) },
			says:   "no evidence",
		},
		"hands in the evidence of another commit": {
			change: app("other"),
			upload: func(proposal) string { return real },
			says:   "no evidence",
		},
		"hands in nothing": {
			change: app("nothing"),
			upload: func(proposal) string { return "" },
			says:   "no evidence",
		},
		"hands in binaries and giants": {
			change: app("giant"),
			upload: func(p proposal) string {
				dir := h.perfect(p, h.nonce(p))
				h.spoil(filepath.Join(dir, "evidence", "tests.json"), append([]byte("\x7fELF"), bytes.Repeat([]byte{0}, 40<<20)...))
				return dir
			},
			says: "no evidence",
		},
		"prints workflow commands and Markdown from a test": {
			change: app("print"),
			upload: func(p proposal) string {
				h.perf["tests"] = json.RawMessage(`{"command":["go"],"exit_code":1,"passed":1,"failed":1,"skipped":0,"findings":[{"tool":"tests","rule":"x","severity":"high","file":"a.go","line":1,"message":"\n::error::x\n::set-output name=v::pass\n# gate: pass\n@smartcloudops/owners <img src=x> [x](https://evil.example)\u202e"}]}`)
				return h.perfect(p, h.nonce(p))
			},
			says: "failed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.world = h.at(t)
			tests := h.perf["tests"]
			defer func() { h.perf["tests"] = tests }()
			p := h.open(strings.ReplaceAll(name[:min(len(name), 20)], " ", "-"), tc.change)
			dir := ""
			if tc.upload == nil {
				dir = h.perfect(p, h.nonce(p))
			} else {
				dir = tc.upload(p)
			}
			if dir != "" {
				h.upload(p, dir)
			}
			if tc.before != nil {
				tc.before(p)
			}
			r := h.publish(p)
			if r.code != promotion.CodePass {
				t.Fatalf("no verdict was published:\n%s", r)
			}
			if ok, why := h.mergeable(p); ok {
				t.Errorf("it can be merged: %s\n%s", why, r)
			}
			c := h.seen(p)
			if c.Status != "completed" || c.Conclusion == "success" || c.Conclusion == "neutral" {
				t.Errorf("the check is %s %s", c.Status, c.Conclusion)
			}
			var all strings.Builder
			for _, c := range h.fake.View().Commits[p.head].Checks {
				fmt.Fprintln(&all, c.Title, c.Summary, c.Text)
				// These GitHub shows as they are.
				r.out += "\n" + strings.Join(c.Annotations, "\n")
			}
			for _, c := range h.fake.View().Comments[p.number] {
				fmt.Fprintln(&all, c.Body)
			}
			shown := all.String()
			if !strings.Contains(shown+r.err, tc.says) {
				t.Errorf("nobody is told %q:\n%s\n%s", tc.says, shown, r)
			}
			for _, bad := range []string{"\n# gate: pass", "<img", "](https://evil"} {
				if strings.Contains(shown, bad) {
					t.Errorf("%q got onto a page", bad)
				}
			}
			for _, bad := range []string{"\n::", "\u202e"} {
				if strings.Contains(shown+r.out+r.err, bad) {
					t.Errorf("%q got through", bad)
				}
			}
		})
	}
	if _, err := os.Stat("/tmp/pwned"); err == nil {
		t.Error("a title was run by a shell")
	}
}

// at is the world for a part of its test.
func (h *hub) at(t *testing.T) *world {
	w := *h.world
	w.t = t
	return &w
}

// forgeCheck is a job of the change's own workflow that is named like the check
// that is required.
func (h *hub) forgeCheck(p proposal) {
	h.t.Helper()
	h.fake.SetRole(outsider, "write")
	token := h.fake.ActionsToken(map[string]string{"checks": "write"})
	ask(h.t, http.MethodPost, h.fake.URL+"/repos/smartcloudops/gate/check-runs", token, map[string]any{
		"name": "gate", "head_sha": p.head, "status": "completed", "conclusion": "success",
	}, nil)
}

func (h *hub) spoil(file string, b []byte) {
	h.t.Helper()
	if err := os.WriteFile(file, b, fs.FileMode(0o644)); err != nil {
		h.t.Fatal(err)
	}
}

func TestOwnersApprovalLetsAnOwnedChangeIn(t *testing.T) {
	drill(t)
	t.Parallel()
	h := newHub(t)
	p := h.open("owned", func() { h.append("policies/README.md", "\nbetter\n") })
	dir := filepath.Join(h.root, "evidence")
	h.settle("--apart", "--nonce", h.nonce(p), "--evidence", dir)
	h.upload(p, dir)
	h.publish(p)
	if ok, _ := h.mergeable(p); ok || h.seen(p).Conclusion != "action_required" {
		t.Fatalf("without an approval the check is %s", h.seen(p).Conclusion)
	}
	h.fake.AddReview(p.number, githubtest.Review{Login: owner, State: "APPROVED", Commit: p.head})
	h.publish(p) // as /gate rerun does
	if ok, why := h.mergeable(p); !ok {
		t.Errorf("with an owner's approval it can't be merged: %s\n%+v", why, h.seen(p))
	}
	if n := len(h.fake.View().Comments[p.number]); n != 1 {
		t.Errorf("%d comments, want one that is kept up to date", n)
	}
}

func TestACommentRacesAForcePush(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: measures a change")
	}
	t.Parallel()
	h := newHub(t)
	p := h.open("moving", func() { h.append("app/store.go", "\n// one\n") })
	next := h.open("moving", func() { h.append("app/store.go", "\n// two\n") })
	h.fake.Push(p.number, next.head)
	if r := h.publish(p); r.code != promotion.CodePass {
		t.Fatalf("%s", r)
	}
	if ok, _ := h.mergeable(next); ok {
		t.Error("the verdict on the old head lets the new one in")
	}
	if len(h.fake.View().Comments[p.number]) > 0 {
		t.Error("the old head was commented on")
	}
}

func TestTestsOfAChangeSeeNoSecret(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: measures a change")
	}
	t.Parallel()
	w := newWorld(t)
	w.write("app/planted_test.go", "package app\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestPlanted(t *testing.T) { t.Error(os.Environ()) }\n")
	w.commit("print the environment")
	dir := filepath.Join(w.root, "evidence")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := w.command(ctx, w.clone, "test", "--apart", "--nonce", "call-0001", "--evidence", dir)
	for _, name := range secrets {
		cmd.Env = append(cmd.Env, name+"="+secretKey)
	}
	r := w.run(cmd)
	if r.code != promotion.CodeFail {
		t.Fatalf("%s", r)
	}
	found := strings.Contains(r.out+r.err, secretKey)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, rerr := os.ReadFile(name)
			found, err = found || bytes.Contains(b, []byte(secretKey)), rerr
		}
		return err
	})
	if err != nil || found {
		t.Errorf("a secret came out (%v):\n%s", err, r)
	}
}

// ask sends what anybody with the token could send.
func ask(t *testing.T, method, url, token string, body, into any) {
	t.Helper()
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, &b)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, url, res.Status)
	}
	if into != nil {
		if err := json.NewDecoder(res.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
}
