package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// planted is code of a service that takes some milliseconds for each request, as
// most do, and that a file can make worse where it runs in production.
const planted = `package httpapi

import (
	"encoding/json"
	"math"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

type worse struct{ Errors, Slower float64 }

var now atomic.Pointer[worse]

var drawn atomic.Uint64

// draw is a number from 0 to 1, by SplitMix64.
func draw() float64 {
	x := drawn.Add(0x9e3779b97f4a7c15)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11) / (1 << 53)
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/version" {
		a.handler.ServeHTTP(w, r)
		return
	}
	f := now.Load()
	if f == nil {
		f = &worse{}
		if b, err := os.ReadFile(%q); err == nil && %t && a.Version.Environment == "production" {
			_ = json.Unmarshal(b, f)
		}
		now.Store(f)
	}
	time.Sleep(time.Duration((4 + 4*-math.Log(1-draw())) * (1 + f.Slower) * float64(time.Millisecond)))
	if draw() < f.Errors {
		http.Error(w, "planted", http.StatusInternalServerError)
		return
	}
	a.handler.ServeHTTP(w, r)
}
`

// TestCanariesJudged promotes a release that is worse in production by a known
// measure, and one that is not, under 100 requests a second of real clients, and
// prints what became of it and when. GATE_BENCH asks for it: it takes long.
func TestCanariesJudged(t *testing.T) {
	if os.Getenv("GATE_BENCH") == "" {
		t.Skip("a benchmark: GATE_BENCH=1 runs it")
	}
	d := &drills{world: newWorld(t)}
	fault := filepath.Join(d.root, "worse.json")
	d.replace("environments/production.yaml", "weight: 20", "weight: 50", "limit: 20s", "limit: 4m", "soak: 2s", "soak: 1s", "synthetic: 30\n", "synthetic: 0\n",
		// By the thresholds that count where nobody declares others.
		shortDrills[strings.Index(shortDrills, "  canary: "):], "")
	d.replace("app/http/api.go", "func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }\n", "")
	d.write("app/http/planted.go", fmt.Sprintf(planted, fault, false))
	d.commit("a")
	d.a = d.through("production")
	tr := d.drive("production", 100)
	d.write("app/http/planted.go", fmt.Sprintf(planted, fault, true))
	d.commit("b")
	d.b = d.through("production")
	d.git("reset", "-q", "--hard", "HEAD~1")
	if again := d.through("production"); again != d.a {
		t.Fatalf("the first commit is now release %s, and was %s", again, d.a)
	}
	for _, c := range []struct {
		name  string
		worse string
		code  int
		times int
	}{
		{"1% errors", `{"Errors": 0.01}`, promotion.CodeRolledBack, 3},
		{"5% errors", `{"Errors": 0.05}`, promotion.CodeRolledBack, 3},
		{"20% slower", `{"Slower": 0.2}`, promotion.CodeRolledBack, 3},
		{"50% slower", `{"Slower": 0.5}`, promotion.CodeRolledBack, 3},
		{"equal", `{}`, promotion.CodePass, 20},
	} {
		for n := range c.times {
			if err := os.WriteFile(fault, []byte(c.worse), 0o644); err != nil {
				t.Fatal(err)
			}
			serves := d.healthy("production", 30*time.Second).Actual.Stable
			r := d.gate("promote", d.other(serves), "--to", "production", "--output", "json")
			var end promotion.Transition
			if err := json.Unmarshal([]byte(r.out), &end); err != nil {
				t.Fatalf("%s: %v\n%s", c.name, err, r)
			}
			if r.code != c.code {
				t.Errorf("%s, %d: exit %d, want %d: %s", c.name, n+1, r.code, c.code, end.Why)
			}
			var analyse, verdict time.Time
			for _, step := range d.transitions("production") {
				switch {
				case step.Request != end.Request:
				case step.Step == promotion.Analyse && analyse.IsZero():
					analyse = step.At
				case step.Step == promotion.Withdraw || step.Step == promotion.Complete:
					verdict = step.At
				}
			}
			t.Logf("%s, %d: %s after %s: %s", c.name, n+1, end.State, verdict.Sub(analyse).Round(100*time.Millisecond), end.Why)
		}
	}
	tr.end()
	t.Log(tr)
}
