package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/policies"
)

// bad is a commit that must not get to production.
type bad struct {
	name      string
	patch     func(w *world)
	code      int
	criterion string // that stopped it; empty: none did
	verdict   policies.Verdict
	says      []string // each must be in what gate run prints
	untouched bool     // staging, too, serves what it served before
	absent    string   // table that must not be in staging's database
}

// everyRequest is a file of the service whose function sees every request.
const everyRequest = `
package httpapi

import (
	"net/http"
	"sync/atomic"
	"time"
)

var requests atomic.Int64

func fault(w http.ResponseWriter, r *http.Request) bool {
	n := requests.Add(1)
	if r.URL.Path == "/readyz" {
		return false
	}
	_, _ = n, time.Second
	%s
	return false
}
`

// inject makes code part of every request; it returns true when it has
// answered.
func inject(w *world, code string) {
	w.write("app/http/fault.go", fmt.Sprintf(everyRequest, code))
	w.replace("app/http/api.go", "func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }",
		"func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {\n\tif !fault(w, r) {\n\t\ta.handler.ServeHTTP(w, r)\n\t}\n}")
}

// TestCommits takes commits through the pipeline one after the other, as a team
// would: a good one, and bad ones that are noticed before anything serves them.
func TestCommits(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: some minutes of real builds, loads and promotions")
	}
	w, first := commitsWorld(t)
	t.Run("the same commit again", func(t *testing.T) {
		w.t = t
		again := w.runs(promotion.CodePass, "--through", "production")
		for _, e := range again.Evidence {
			if !e.Reused {
				t.Errorf("%s was measured again", e.Evidence.Check)
			}
		}
		if len(again.Promotions) != 0 {
			t.Errorf("promoted again: %+v", again.Promotions)
		}
	})
	t.Run("docs only", func(t *testing.T) {
		w.t = t
		w.write("docs/note.md", "# A note\n")
		w.commit("docs only")
		o := w.runs(promotion.CodePass, "--through", "production")
		if o.Release != first.Release {
			t.Errorf("another digest: %s", o.Release)
		}
		for _, e := range o.Evidence {
			// Those look at the whole repository.
			if !e.Reused && !slices.Contains([]string{"leaks", "secrets", "runbooks"}, e.Evidence.Check) {
				t.Errorf("%s was measured again", e.Evidence.Check)
			}
		}
	})
	w.refuses(t, first, []bad{
		{
			name: "does not compile", code: promotion.CodeFail, untouched: true, says: []string{"app/sample.go:", "does not build"},
			patch: func(w *world) { w.append("app/sample.go", "\nfunc broken() int { return undefinedName }\n") },
		},
		{
			name: "a test fails", code: promotion.CodeFail, criterion: "tests", verdict: policies.Fail, untouched: true, says: []string{"app/planted_test.go:6"},
			patch: func(w *world) {
				w.write("app/planted_test.go", "package app\n\nimport \"testing\"\n\nfunc TestPlanted(t *testing.T) {\n\tt.Error(\"planted\")\n}\n")
			},
		},
		{
			name: "no tests", code: promotion.CodeInconclusive, criterion: "tests", verdict: policies.Inconclusive, untouched: true,
			patch: func(w *world) {
				files, _ := filepath.Glob(w.path("app/*_test.go"))
				for _, f := range files {
					if err := os.Remove(f); err != nil {
						w.t.Fatal(err)
					}
				}
			},
		},
		{
			name: "a secret in the source", code: promotion.CodeFail, criterion: "scan", verdict: policies.Fail, untouched: true, says: []string{"deploy/notes.txt:2"},
			patch: func(w *world) {
				// Put together here, so that this file holds none.
				w.write("deploy/notes.txt", "# deployment\naws_access_key_id = AKIA"+"Q3EGRIPN"+"T5JZ4W7K\n")
			},
		},
		{
			name: "never ready", code: promotion.CodeFail, untouched: true, says: []string{"did not become ready"},
			patch: func(w *world) {
				w.replace("app/http/probes.go", "if a.draining.Load() {", "if true || a.draining.Load() {")
			},
		},
	})
	w.t = t
	w.want(promotion.CodePass, "ledger", "verify")
}

// TestCommitsUnderLoad goes on with bad ones that only load, a canary or a
// database shows, and a good one at last.
func TestCommitsUnderLoad(t *testing.T) {
	drill(t)
	w, first := commitsWorld(t)
	w.refuses(t, first, []bad{
		{
			name: "a reachable vulnerability", code: promotion.CodeFail, criterion: "scan", verdict: policies.Fail, untouched: true, says: []string{"GO-2000-0001", "app/http/language.go:"},
			patch: func(w *world) {
				w.write("app/http/language.go", "package httpapi\n\nimport \"golang.org/x/text/language\"\n\nfunc init() {\n\t_, _, _ = language.ParseAcceptLanguage(\"en\")\n}\n")
			},
		},
		{
			name: "a migration fails", code: promotion.CodeFail, untouched: true, absent: "planted", says: []string{"migration failed", "no_such_table"},
			patch: func(w *world) {
				w.write("app/postgres/migrations/00003_planted.sql", "-- +goose Up\nCREATE TABLE planted (id integer);\nALTER TABLE no_such_table ADD COLUMN x integer;\n")
			},
		},
		{
			name: "crashes after some seconds", code: promotion.CodeFail, criterion: "load", verdict: policies.Fail,
			patch: func(w *world) {
				w.write("app/cmd/smartcloudops/planted.go", "package main\n\nimport (\n\t\"os\"\n\t\"time\"\n)\n\nfunc init() {\n\tif len(os.Args) > 1 && os.Args[1] == \"serve\" {\n\t\ttime.AfterFunc(4*time.Second, func() { os.Exit(9) })\n\t}\n}\n")
			},
		},
		{
			name: "3% of requests answer 500", code: promotion.CodeFail, criterion: "load", verdict: policies.Fail,
			patch: func(w *world) {
				inject(w, "if n%33 == 0 {\n\t\thttp.Error(w, \"planted\", http.StatusInternalServerError)\n\t\treturn true\n\t}")
			},
		},
		{
			name: "p95 over two seconds", code: promotion.CodeFail, criterion: "load", verdict: policies.Fail, says: []string{"p95"},
			patch: func(w *world) {
				inject(w, "if n%8 == 0 {\n\t\ttime.Sleep(2300 * time.Millisecond)\n\t}")
			},
		},
		{
			name: "wrong in production only", code: promotion.CodeRolledBack, says: []string{"canary", "rolled back"},
			patch: func(w *world) {
				inject(w, "if os.Getenv(\"EDITION\") == \"enterprise\" && r.URL.Path == \"/version\" && n%3 == 0 {\n\t\thttp.Error(w, \"planted\", http.StatusInternalServerError)\n\t\treturn true\n\t}")
				w.replace("app/http/fault.go", "\"net/http\"", "\"net/http\"\n\t\"os\"")
				w.replace("environments/production.yaml", "config:\n", "config:\n  EDITION: enterprise\n")
				w.append("environments/production.yaml", "differs: [EDITION]\n")
			},
		},
	})
	t.Run("repaired", func(t *testing.T) {
		w.t = t
		w.write("app/http/edition.go", "package httpapi\n\n// Edition names this build.\nconst Edition = \"repaired\"\n\nfunc init() { println(Edition) }\n")
		w.commit("repaired")
		o := w.runs(promotion.CodePass, "--through", "production")
		if o.Release == first.Release {
			t.Fatal("the repaired commit is no other release")
		}
		if got := w.serves("production"); got != o.Release {
			t.Errorf("production serves %s, want %s", got, o.Release)
		}
		if n := len(o.Promotions); n == 0 || !o.Promotions[n-1].Synthetic {
			t.Errorf("an idle environment was compared, but nothing says synthetic: %+v", o.Promotions)
		}
	})
	w.t = t
	w.want(promotion.CodePass, "ledger", "verify")
}

// commitsWorld is a world with a good commit in production.
func commitsWorld(t *testing.T) (*world, outcome) {
	t.Helper()
	w := newWorld(t)
	// Enough requests that 99% can be shown, and 97% can't.
	w.replace("environments/app.yaml", "users: 20", "users: 50", "closed: 4s", "closed: 5s", "open: 3s", "open: 5s")
	for _, e := range []string{"staging", "production"} {
		w.replace("environments/"+e+".yaml", ", min_users: 10, min_requests: 20, success: 0.9", "")
	}
	w.commit("enough requests")

	first := w.runs(promotion.CodePass, "--through", "production")
	if got := w.serves("production"); got != first.Release {
		t.Fatalf("production serves %s, want the commit's release %s", got, first.Release)
	}
	if c := first.criterion("load"); c.Verdict != policies.Pass {
		t.Fatalf("load: %+v", c)
	}
	w.answersOverTLS("production", first.Release)

	return w, first
}

// refuses takes each of the commits through the pipeline and goes back.
func (w *world) refuses(t *testing.T, first outcome, commits []bad) {
	t.Helper()
	good := w.git("rev-parse", "HEAD")
	for _, c := range commits {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			staging := w.serves("staging")
			c.patch(w)
			w.commit(c.name)
			defer w.git("reset", "-q", "--hard", good)
			ask := w.settle
			if c.code == promotion.CodeInconclusive {
				ask = func(args ...string) result { return w.gate(append([]string{"run"}, args...)...) }
			}
			r := ask("--through", "production")
			if r.code != c.code {
				t.Fatalf("want exit %d\n%s", c.code, r)
			}
			for _, s := range c.says {
				if !strings.Contains(r.out, s) {
					t.Errorf("output lacks %q\n%s", s, r)
				}
			}
			if c.criterion != "" {
				row := regexp.MustCompile(`(?m)^` + c.criterion + ` +` + string(c.verdict) + `\b`)
				if !row.MatchString(r.out) {
					t.Errorf("criterion %s is not %s\n%s", c.criterion, c.verdict, r)
				}
			}
			if got := w.serves("production"); got != first.Release {
				t.Errorf("production serves %s, want the old release %s", got, first.Release)
			}
			w.answersOverTLS("production", first.Release)
			if c.untouched {
				if got := w.serves("staging"); got != staging {
					t.Errorf("staging serves %s, want what it served before, %s", got, staging)
				}
				w.answersOverTLS("staging", staging)
			}
			if c.absent != "" && w.hasTable("staging", c.absent) {
				t.Errorf("the database was changed: it has the table %s", c.absent)
			}
			if c.code == promotion.CodeRolledBack {
				w.backWithin("production", 2*time.Second)
			}
		})
	}
}

// serves is the release that the environment's stable instances run.
func (w *world) serves(environment string) string {
	w.t.Helper()
	r := w.want(promotion.CodePass, "status", environment, "--output", "json")
	var all []report.Environment
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 1 || all[0].Actual == nil {
		w.t.Fatalf("status of %s: %v\n%s", environment, err, r)
	}
	if c := all[0].Actual.Canary; c != "" {
		w.t.Errorf("a canary of %s is left in %s", c, environment)
	}
	return all[0].Actual.Stable
}

// answersOverTLS asks the environment as a client does.
func (w *world) answersOverTLS(environment, release string) {
	w.t.Helper()
	pem, err := os.ReadFile(filepath.Join(w.state, "env", environment, "certs", "ca.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	res, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/version", w.ports[environment]))
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), release) || res.Header.Get("X-Gate-Release") != release {
		w.t.Errorf("%s answers %s %s (%v), want release %s", environment, res.Status, body, err, release)
	}
}

// hasTable asks the environment's own PostgreSQL, as the role that owns the schema.
func (w *world) hasTable(environment, table string) bool {
	w.t.Helper()
	dir := filepath.Join(w.state, "env", environment, "postgres")
	var secrets struct{ Migrator string }
	b, err := os.ReadFile(filepath.Join(dir, "passwords.json"))
	if err == nil {
		err = json.Unmarshal(b, &secrets)
	}
	port, perr := os.ReadFile(filepath.Join(dir, "port"))
	if err != nil || perr != nil {
		w.t.Fatalf("database of %s: %v, %v", environment, err, perr)
	}
	name := "smartcloudops_" + environment
	conn, err := pgx.Connect(w.t.Context(), fmt.Sprintf("postgres://%s_migrator:%s@127.0.0.1:%s/%s", name, secrets.Migrator, strings.TrimSpace(string(port)), name))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(w.t.Context())
	var known, found bool
	err = conn.QueryRow(w.t.Context(), "SELECT to_regclass('metric_samples') IS NOT NULL, to_regclass($1) IS NOT NULL", table).Scan(&known, &found)
	if err != nil || !known {
		w.t.Fatalf("ask the database of %s: known %v, %v", environment, known, err)
	}
	return found
}

var backAfter = regexp.MustCompile(`all traffic was back (\S+) after the verdict`)

// backWithin reads from the history how long the way back took.
func (w *world) backWithin(environment string, limit time.Duration) {
	w.t.Helper()
	r := w.want(promotion.CodePass, "history", environment, "--output", "json")
	var all []promotion.Transition
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) == 0 {
		w.t.Fatalf("history: %v\n%s", err, r)
	}
	m := backAfter.FindStringSubmatch(all[0].Why)
	if m == nil {
		w.t.Fatalf("history does not say when the traffic was back: %q", all[0].Why)
	}
	took, err := time.ParseDuration(m[1])
	if err != nil || took > limit {
		w.t.Errorf("traffic was back after %s, want at most %s", m[1], limit)
	}
}
