package checks

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// TestBenchStallsSideBySide puts this generator beside vegeta before a service
// that stalls twice for a second in twelve, where theory knows what people wait.
func TestBenchStallsSideBySide(t *testing.T) {
	if os.Getenv("GATE_BENCH") == "" {
		t.Skip("a benchmark: make bench")
	}
	const rate, whole, stall = 500, 12 * time.Second, time.Second
	// Of arrivals that come evenly, two stalls of a second let 2·(1 s − x) ÷ 12 s
	// wait for longer than x: a tenth for longer than 0.4 s.
	theory := stall - time.Duration(0.1*float64(whole))/2
	serve := func() *httptest.Server {
		h := loadTestStalls([2]time.Duration{3 * time.Second, 3*time.Second + stall}, [2]time.Duration{8 * time.Second, 8*time.Second + stall})
		return httptest.NewServer(h)
	}
	attack := func(workers uint64) time.Duration {
		s := serve()
		defer s.Close()
		targeter := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: s.URL + "/read"})
		a := vegeta.NewAttacker(vegeta.MaxWorkers(workers), vegeta.MaxConnections(10000))
		h := loadHistogram()
		for r := range a.Attack(targeter, vegeta.Rate{Freq: rate, Per: time.Second}, whole, "stalls") {
			loadRecord(h, r.Latency)
		}
		return time.Duration(h.ValueAtQuantile(90)) * time.Microsecond
	}
	own := func() time.Duration {
		s := serve()
		defer s.Close()
		scenario := loadTestScenario(50, 100*time.Millisecond, 0, time.Millisecond, whole)
		scenario.Endpoints = scenario.Endpoints[:1]
		g, err := newLoadGenerator(LoadOptions{Address: s.Listener.Addr().String(), Plain: true, Scenario: scenario, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		res, clients, err := g.open(t.Context(), loadArrivals{name: "open", rate: rate, whole: whole}, nil, nil)
		for _, c := range clients {
			c.close()
		}
		if err != nil {
			t.Fatal(err)
		}
		h := loadHistogram()
		for _, x := range res.samples {
			loadRecord(h, x.latency)
		}
		return time.Duration(h.ValueAtQuantile(90)) * time.Microsecond
	}
	fmt.Printf("\n| p90 with two stalls of 1 s in 12 s, %d requests/s | ms | of theory |\n| --- | --- | --- |\n", rate)
	row := func(name string, got time.Duration) float64 {
		share := float64(got) / float64(theory)
		fmt.Printf("| %s | %.0f | %.0f%% |\n", name, float64(got)/1e6, share*100)
		return share
	}
	row("theory", theory)
	if share := row("gate, open model", own()); math.Abs(share-1) > 0.25 {
		t.Errorf("the open model is %.0f%% of theory, more than a quarter off", share*100)
	}
	row("vegeta, workers without bound", attack(math.MaxUint64))
	row("vegeta, 50 workers", attack(50))
}
