package checks

import (
	"context"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// backupRate is how often the service is asked while its backup is tried, a
// second: enough for a p95 of seconds, and a load that nobody feels.
const backupRate = 50

// backupWatch asks the service what may be asked anywhere, before its backup is
// tried and meanwhile: what the drill costs those who are served.
type backupWatch struct {
	load  *drillLoad
	quiet float64
	from  time.Time
}

// watchService begins with a lead of nothing but its own requests. It watches
// nothing where there is nobody to ask, or nothing that may be asked.
func watchService(ctx context.Context, in Input) (*backupWatch, error) {
	w := &backupWatch{}
	if loadMissing(in) != "" || len(backupQuestions(in.Declarations.App)) == 0 {
		return w, nil
	}
	plan, dialer, err := newLoadRequests(LoadOptions{
		Address: in.Address, Name: in.Name, Roots: in.Roots, Scenario: environments.Load{Endpoints: backupQuestions(in.Declarations.App)},
	})
	if err != nil {
		return nil, err
	}
	w.load = &drillLoad{rate: backupRate, plan: plan, dialer: dialer, seed: loadSeed(in.Release)}
	w.load.start(ctx)
	w.load.strict.Store(false) // a connection that was closed in order is no failure
	// Each client's first request pays for its connection.
	begun := w.load.started.Add(drillClients * time.Second / backupRate)
	timer := loadTimer()
	defer timer.Stop()
	if err := loadSleep(ctx, timer, begun.Add(2*drillsOf(in).Lead.D())); err != nil {
		w.load.finish()
		return nil, err
	}
	w.from = time.Now()
	w.quiet, _ = answeredP95(w.load.between(begun, w.from))
	return w, nil
}

// end stops asking, and notes what was seen.
func (w *backupWatch) end(p *BackupPayload) {
	if w.load == nil {
		return
	}
	to := time.Now()
	w.load.finish()
	samples := w.load.between(w.from, to)
	p.QuietP95 = w.quiet
	p.P95, p.Failed = answeredP95(samples)
	p.Requests = int64(len(samples))
}

// answeredP95 is the p95 of the requests that were answered rightly, in seconds,
// from when they were due; the rest has failed.
func answeredP95(samples []drillSample) (p95 float64, failed int64) {
	latencies := loadHistogram()
	for _, s := range samples {
		if s.why != "" && s.why != loadSlow {
			failed++
			continue
		}
		loadRecord(latencies, s.done.Sub(s.due))
	}
	return loadSeconds(latencies.ValueAtQuantile(95)), failed
}
