package balancer

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

// TestRefusalsAreErrorsOfTheirArm: a release that refuses everybody is quick, and
// wrong.
func TestRefusalsAreErrorsOfTheirArm(t *testing.T) {
	answer := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for status, wrong := range map[int]bool{200: false, 302: false, 400: true, 401: true, 404: true, 429: true, 500: true} {
		f := start(t)
		one, base, can := startInstance(t, "1", "sha256:aa", nil), startInstance(t, "2", "sha256:aa", nil), startInstance(t, "3", "sha256:bb", answer(status))
		f.swap(t, Set{Stable: backends(one), Baseline: backends(base), Canary: backends(can), Weight: 50, Observe: true, Anew: true})
		c := f.client(t, false)
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		res, err := c.Do(f.request(t, http.MethodGet, "/x", nil, HeaderSynthetic, key, HeaderArm, "canary"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		seen := observed(t, f, 1)
		if seen[0].Arm != "canary" || seen[0].Error != wrong {
			t.Errorf("answered %d: %+v", status, seen[0])
		}
		if got := f.Arms().Canary.Errors == 1; got != wrong {
			t.Errorf("answered %d: the arm's errors are %d", status, f.Arms().Canary.Errors)
		}
		if n := f.Counts().Errors; (n > 0) != (status >= 500) {
			t.Errorf("answered %d: the service itself has %d errors", status, n)
		}
	}
}

// TestGatesOwnRequestsAreAnsweredAsDeclared, else it is an error of the arm.
func TestGatesOwnRequestsAreAnsweredAsDeclared(t *testing.T) {
	f := start(t)
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(HeaderExpect) != "" {
			t.Error("the app is told what is expected of it")
		}
		for _, part := range []string{strings.Repeat("x", 40_000), "acc", "epted", strings.Repeat("y", 40_000)} {
			fmt.Fprint(w, part)
			w.(http.Flusher).Flush()
		}
	}
	one, base, can := startInstance(t, "1", "sha256:aa", answer), startInstance(t, "2", "sha256:aa", answer), startInstance(t, "3", "sha256:bb", answer)
	f.swap(t, Set{Stable: backends(one), Baseline: backends(base), Canary: backends(can), Weight: 50, Observe: true, Anew: true})
	c := f.client(t, false)
	for name, e := range map[string]struct {
		header string
		wrong  bool
	}{
		"as declared":    {Expected{200, []byte("accepted"), time.Minute}.Header(), false},
		"any body":       {Expected{200, nil, time.Minute}.Header(), false},
		"another status": {Expected{201, nil, time.Minute}.Header(), true},
		"another body":   {Expected{200, []byte("accepted!"), time.Minute}.Header(), true},
		"too late":       {Expected{200, nil, time.Nanosecond}.Header(), true},
		"unreadable":     {"?", true},
	} {
		before := len(observed(t, f, 0))
		res, err := c.Do(f.request(t, http.MethodGet, "/x", nil, HeaderSynthetic, key, HeaderArm, "canary", HeaderExpect, e.header))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if seen := observed(t, f, before+1); seen[before].Error != e.wrong {
			t.Errorf("%s: %+v", name, seen[before])
		}
	}
	// Who lacks the key expects nothing.
	before := f.Arms()
	res, err := c.Do(f.request(t, http.MethodGet, "/x", nil, HeaderExpect, Expected{Status: 201}.Header()))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	until(t, "it has ended", func() bool { return f.Counts().InFlight == 0 })
	if after := f.Arms(); after.Stable.Errors+after.Baseline.Errors+after.Canary.Errors != before.Canary.Errors {
		t.Errorf("a stranger has made an error: %+v", after)
	}
}

// observed waits for n requests.
func observed(t *testing.T, f *fixture, n int) []target.Observation {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		seen, _, _, err := f.Observe(0)
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) >= n || time.Now().After(end) {
			if len(seen) != n && n > 0 {
				t.Fatalf("%d requests were observed, not %d", len(seen), n)
			}
			return seen
		}
	}
}
