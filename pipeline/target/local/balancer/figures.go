package balancer

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/smartcloudops/gate/pipeline/target"
)

// longest is the longest time that the histogram tells from longer ones.
const longest = 10 * time.Minute

// figures are what one arm's requests came to. They are kept in shards, each
// under its own lock, so that measuring does not make requests wait for each
// other.
type figures struct {
	since   time.Time
	release string
	shards  []shard
	open    open
}

type shard struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // made at the first request: a swap must be quick
	requests  int64
	synthetic int64
	errors    int64
	total     time.Duration
	_         [64]byte // keeps neighbours off the same cache line
}

func newFigures(now time.Time, release string, shards int) *figures {
	return &figures{since: now, release: release, shards: make([]shard, shards)}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), 3)
}

func (f *figures) record(d time.Duration, failed, synthetic bool) {
	s := &f.shards[rand.IntN(len(f.shards))]
	us := min(max(d.Microseconds(), 1), longest.Microseconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.histogram == nil {
		s.histogram = newHistogram()
	}
	_ = s.histogram.RecordValue(us) // it fails only out of range, and us was clamped
	s.requests++
	s.total += d
	if failed {
		s.errors++
	}
	if synthetic {
		s.synthetic++
	}
}

// arm adds the shards up.
func (f *figures) arm(now time.Time) target.Arm {
	out := target.Arm{Release: f.release}
	all := newHistogram()
	var total time.Duration
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		out.Requests += s.requests
		out.Synthetic += s.synthetic
		out.Errors += s.errors
		total += s.total
		if s.histogram != nil {
			all.Merge(s.histogram)
		}
		s.mu.Unlock()
	}
	out.Open, out.OldestOpen = f.open.now(now)
	if out.Requests == 0 {
		return out
	}
	out.Mean = total.Seconds() / float64(out.Requests)
	seconds := func(p float64) float64 { return float64(all.ValueAtPercentile(p)) / 1e6 }
	out.P50, out.P95, out.P99 = seconds(50), seconds(95), seconds(99)
	// Without a histogram the arm has too little to be judged by, which is the
	// safe way to fail; encoding to memory does not.
	if h, err := all.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil {
		out.Histogram = string(h)
	}
	return out
}
