package watch

import (
	"context"
	"sync"
	"time"
)

// Outside probes the target each second until ctx ends, enters what comes of it
// into m, and keeps m on disk. Said is called after each probe, by one goroutine
// at a time.
func Outside(ctx context.Context, m *Meter, t Target, said func(Probed)) error {
	began := time.Now()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var wg sync.WaitGroup
	free := make(chan struct{}, inFlight)
	var telling sync.Mutex
	for n := 1; ; n++ {
		slot := m.Begin(time.Since(began), time.Now())
		select {
		case free <- struct{}{}:
			wg.Go(func() {
				defer func() { <-free }()
				pctx, cancel := context.WithTimeout(ctx, Patience)
				defer cancel()
				p := Ask(pctx, t)
				if ctx.Err() != nil && p.Failure != "" {
					return // cut off from this side, which proves nothing
				}
				m.End(slot, p.Failure == "")
				telling.Lock()
				defer telling.Unlock()
				said(p)
			})
		default:
		}
		if n%saveEvery == 0 {
			if err := m.Save(); err != nil {
				wg.Wait()
				return err
			}
		}
		select {
		case <-ctx.Done():
			wg.Wait()
			return m.Save()
		case <-tick.C:
		}
	}
}
