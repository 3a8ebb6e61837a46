package checks

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// loadTestSequence feeds one sequential test until it decides, or n requests
// are over.
func loadTestSequence(r *rand.Rand, share float64, n int) EarlyStop {
	w := newLoadWatch()
	for range n {
		s := loadSample{}
		if r.Float64() < share {
			s.why = "status 500"
		}
		w.end(w.begin(time.Now()), s)
		if w.over() {
			break
		}
	}
	return w.result(true)
}

// TestLoadEarlyIsSeldomWrong simulates both phases of a service, and what is
// concluded of them together.
func TestLoadEarlyIsSeldomWrong(t *testing.T) {
	t.Parallel()
	trials := 1500
	print := func(string, ...any) {}
	if os.Getenv("GATE_BENCH") != "" {
		trials = 10000
		print = func(format string, a ...any) { fmt.Printf(format, a...) }
	}
	print("\n| true errors | called good | called bad | undecided | requests a phase, mean |\n| --- | --- | --- | --- | --- |\n")
	r := rand.New(rand.NewPCG(1945, 2))
	for _, share := range []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.011, 0.015, 0.02, 0.05} {
		count := map[string]int{}
		requests, phases := int64(0), 0
		for range trials {
			verdict := earlyIsGood
			for range 2 {
				// A minute of 50 users that think for a second.
				e := loadTestSequence(r, share, 3000)
				requests += e.Requests
				phases++
				if e.Verdict == earlyIsBad || e.Verdict == earlyOpen && verdict == earlyIsGood {
					verdict = e.Verdict
				}
			}
			count[verdict]++
		}
		of := func(v string) float64 { return float64(count[v]) / float64(trials) }
		print("| %.2f%% | %.2f%% | %.2f%% | %.2f%% | %d |\n", share*100, of(earlyIsGood)*100, of(earlyIsBad)*100, of(earlyOpen)*100, requests/int64(phases))
		// Three standard errors are allowed for chance.
		if wrong := of(earlyIsBad); share <= earlyGood && wrong > 0.01+3*0.0026 {
			t.Errorf("with %.2f%% errors %.2f%% are called bad", share*100, wrong*100)
		}
		if wrong := of(earlyIsGood); share >= earlyBad && wrong > 0.01+3*0.0026 {
			t.Errorf("with %.2f%% errors %.2f%% are called good", share*100, wrong*100)
		}
	}
}

func TestLoadEarlyTakesHangingRequestsForFailed(t *testing.T) {
	t.Parallel()
	w := newLoadWatch()
	w.begin(time.Now().Add(-3 * time.Second)) // has no answer yet
	for range 100 {
		w.end(w.begin(time.Now()), loadSample{})
	}
	if e := w.result(false); e.Requests != 101 || e.Failed != 1 || e.Slow != 1 {
		t.Errorf("%+v", e)
	}
	// Who has time left holds the others up, or the quick ones would be all.
	w = newLoadWatch()
	w.begin(time.Now().Add(time.Minute))
	for range 1000 {
		w.end(w.begin(time.Now()), loadSample{})
	}
	if e := w.result(false); e.Requests != 0 || w.over() {
		t.Errorf("%+v", e)
	}
}

func TestLoadStopsEarlyOnBothSides(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: that load may stop early is NOT tested; takes 6 s")
	}
	t.Parallel()
	// 40 users that think for 100 ms ask about 400 times a second: 571 requests
	// take two seconds of the minute.
	minute := loadTestScenario(40, 100*time.Millisecond, 200*time.Millisecond, time.Minute, time.Minute)
	var n atomic.Int64
	for verdict, h := range map[string]http.HandlerFunc{
		earlyIsGood: loadTestOK,
		earlyIsBad: func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%20 == 0 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			loadTestOK(w, r)
		},
	} {
		began := time.Now()
		p := loadTestRun(t, h, minute, func(o *LoadOptions) { o.Early = true }, Completed)
		e := p.Early
		if e == nil || e.Closed.Verdict != verdict || e.Open.Verdict != verdict || !e.Closed.Stopped || !e.Open.Stopped || time.Since(began) > 40*time.Second {
			t.Errorf("%s: %+v after %s", verdict, e, time.Since(began))
			continue
		}
		if p.Closed.Seconds > 30 || p.Closed.All.Requests < e.Closed.Requests || p.LittleLaw < 0.5 || p.Open.All.Requests < e.Open.Requests || p.Closed.Rate < 50 {
			t.Errorf("%s: closed %.1f s, %d requests, law %g", verdict, p.Closed.Seconds, p.Closed.All.Requests, p.LittleLaw)
		}
	}
}

func TestLoadThatMayStopEarlyHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	in := loadTestInput(newLoadTestCA(t), "127.0.0.1:1", loadTestScenario(1, 0, 0, time.Second, 0))
	full := Load().Key(in)
	in.Proposal = true
	if Load().Key(in) == full {
		t.Error("what stopped early could stand for a full measurement")
	}
	if Update().Key(in) != func() string { in.Proposal = false; return Update().Key(in) }() {
		t.Error("a check that does not stop early is measured twice")
	}
}

// TestLoadFullMinuteIsSeldomWrong draws the counts of full measurements of 50
// users and of three endpoints weighted 4, 4 and 2, and concludes by success as
// the policy does: fail, where a share is below 99%; pass, where every lower
// bound reaches it.
func TestLoadFullMinuteIsSeldomWrong(t *testing.T) {
	t.Parallel()
	trials := 1500
	print := func(string, ...any) {}
	if os.Getenv("GATE_BENCH") != "" {
		trials = 10000
		print = func(format string, a ...any) { fmt.Printf(format, a...) }
	}
	print("\n| true errors | pass | fail | inconclusive |\n| --- | --- | --- | --- |\n")
	r := rand.New(rand.NewPCG(1934, 3))
	lower := map[[2]int64]float64{}
	for _, share := range []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.011, 0.015, 0.02, 0.05} {
		var passed, failed float64
		for range trials {
			pass, fail := true, false
			judge := func(failures, n int64) {
				at := [2]int64{n - failures, n}
				if _, known := lower[at]; !known {
					lower[at] = loadSuccessLower(n-failures, n)
				}
				pass = pass && lower[at] >= loadSuccess
				fail = fail || float64(n-failures) < loadSuccess*float64(n)
			}
			for range 2 {
				var all, sum int64
				for _, n := range []int64{1200, 1200, 600} {
					var failures int64
					for range n {
						if r.Float64() < share {
							failures++
						}
					}
					judge(failures, n)
					all, sum = all+failures, sum+n
				}
				judge(all, sum)
			}
			if fail {
				failed++
			} else if pass {
				passed++
			}
		}
		of := func(n float64) float64 { return n / float64(trials) }
		print("| %.2f%% | %.2f%% | %.2f%% | %.2f%% |\n", share*100, of(passed)*100, of(failed)*100, (1-of(passed)-of(failed))*100)
		if share <= earlyGood && of(failed) > 0.01+3*0.0026 {
			t.Errorf("with %.2f%% errors %.2f%% fail", share*100, of(failed)*100)
		}
		if share >= earlyBad && of(passed) > 0.01+3*0.0026 {
			t.Errorf("with %.2f%% errors %.2f%% pass", share*100, of(passed)*100)
		}
	}
}
