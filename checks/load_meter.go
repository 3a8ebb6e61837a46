package checks

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Bounds of a sound meter.
const (
	// loadMaxCPU: above it the generator competes with itself for the processor.
	// The share is this process's user and system time over a phase divided by
	// the phase's length and the cores that it may use (GOMAXPROCS). On a machine
	// that it shares with the service, the service may starve it earlier: that
	// shows as lag.
	loadMaxCPU = 0.8
	// loadMaxLag bounds the 99th percentile of the time between the moment when a
	// request was due and its start, 5% of LoadLimit.
	loadMaxLag = 100 * time.Millisecond
	// loadMaxLaw is how far users ÷ (response + think) may be off the throughput.
	loadMaxLaw = 0.05
	// loadTimeout ends a request that has no answer. It is far above LoadLimit,
	// so that a slow service is measured and not merely cut off.
	loadTimeout = 10 * time.Second
)

// loadUnsound says why the generator can't be trusted, or nothing.
func loadUnsound(f GeneratorFacts, maxLag time.Duration) string {
	switch {
	case f.Dropped > 0:
		return fmt.Sprintf("%d requests that were due could not be sent from this machine", f.Dropped)
	case !(f.CPUShare <= loadMaxCPU):
		return fmt.Sprintf("the generator used %.0f%% of its processor time, more than %.0f%%", f.CPUShare*100, loadMaxCPU*100)
	case !(f.P99LagSeconds <= maxLag.Seconds()):
		return fmt.Sprintf("the generator was behind its schedule by %.0f ms (p99), more than %d ms", f.P99LagSeconds*1000, maxLag.Milliseconds())
	}
	return ""
}

// loadMeter measures what this process uses of the processor.
type loadMeter struct {
	start time.Time
	used  time.Duration
}

func startLoadMeter() loadMeter { return loadMeter{time.Now(), loadCPU()} }

// share is the part of the cores' time that was used since the start. It is 1,
// which no meter survives, when it can't be told.
func (m loadMeter) share() float64 {
	wall := time.Since(m.start).Seconds() * float64(runtime.GOMAXPROCS(0))
	used := (loadCPU() - m.used).Seconds()
	if wall <= 0 || m.used < 0 || used < 0 {
		return 1
	}
	return used / wall
}

// loadShare waits for a stretch of time to pass, or for stop, and returns the
// share used in it.
func loadShare(ctx context.Context, from, to time.Time, stop <-chan struct{}) float64 {
	timer := loadTimer()
	defer timer.Stop()
	if loadSleep(ctx, timer, from) != nil {
		return 1
	}
	m := startLoadMeter()
	if _, err := loadSleepUnless(ctx, timer, to, stop); err != nil {
		return 1
	}
	return m.share()
}

// machine is likewise the part of all of the machine's processors.
func (m loadMeter) machine() float64 {
	return m.share() * float64(runtime.GOMAXPROCS(0)) / float64(runtime.NumCPU())
}

func loadCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return -1
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const loadHistogramMax = int64(time.Hour / time.Microsecond)

// loadHistogram holds microseconds up to an hour with three digits.
func loadHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, loadHistogramMax, 3) }

func loadRecord(h *hdrhistogram.Histogram, d time.Duration) {
	// The value is inside the range by construction, so there is no error.
	_ = h.RecordValue(min(max(d.Microseconds(), 0), loadHistogramMax))
}

func loadSeconds(us int64) float64 { return float64(us) / 1e6 }

// loadTimer is a timer for loadSleep.
func loadTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// loadSleep waits until t or until ctx ends.
func loadSleep(ctx context.Context, timer *time.Timer, t time.Time) error {
	_, err := loadSleepUnless(ctx, timer, t, nil)
	return err
}

// loadSleepUnless likewise, or until stop, which may be nil: then it says so.
func loadSleepUnless(ctx context.Context, timer *time.Timer, t time.Time, stop <-chan struct{}) (stopped bool, err error) {
	d := time.Until(t)
	if d <= 0 {
		return false, ctx.Err()
	}
	timer.Reset(d)
	select {
	case <-ctx.Done():
		timer.Stop()
		return false, ctx.Err()
	case <-stop:
		timer.Stop()
		return true, nil
	case <-timer.C:
		return false, nil
	}
}
