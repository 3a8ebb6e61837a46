package scaling

import (
	"math"
	"strings"
	"testing"
	"time"
)

var rule = Rule{Metric: "concurrency", Target: 8, Min: 2, Max: 10, UpAfter: time.Second, DownAfter: 10 * time.Second}

// feed gives the same reading every quarter of a second for a time, and returns
// the first decision that changes anything, and when.
func feed(t *Tracker, from time.Time, d time.Duration, actual int, in Reading) (Decision, time.Duration) {
	var last Decision
	for at := time.Duration(0); at <= d; at += 250 * time.Millisecond {
		if last = t.Look(from.Add(at), rule, actual, in); last.Desired != actual {
			return last, at
		}
	}
	return last, d
}

func known(total float64) Reading { return Reading{Total: total, Known: true} }

func TestGrowsOnceLoadHasLasted(t *testing.T) {
	var tr Tracker
	d, at := feed(&tr, time.Unix(0, 0), time.Minute, 2, known(27))
	if d.Desired != 4 || at != time.Second {
		t.Errorf("%+v after %s", d, at)
	}
	// At most twice as many at once, and never more than declared.
	for actual, want := range map[int]int{2: 4, 4: 8, 8: 10} {
		var tr Tracker
		if d, _ := feed(&tr, time.Unix(0, 0), time.Minute, actual, known(1e12)); d.Desired != want {
			t.Errorf("of %d: %+v", actual, d)
		}
	}
}

func TestASpikeIsNoLoad(t *testing.T) {
	var tr Tracker
	for i := range 400 {
		total := 0.0
		if i%4 == 0 {
			total = 100
		}
		if d := tr.Look(time.Unix(0, int64(i)*250e6), rule, 2, known(total)); d.Desired != 2 {
			t.Fatalf("%+v", d)
		}
	}
}

func TestShrinksToWhatTheGreediestReadingWanted(t *testing.T) {
	var tr Tracker
	start := time.Unix(0, 0)
	tr.Look(start, rule, 6, known(30))
	tr.Look(start.Add(time.Second), rule, 6, known(20))
	d, at := feed(&tr, start.Add(2*time.Second), time.Minute, 6, known(0))
	if d.Desired != 4 || at != 8*time.Second {
		t.Errorf("%+v after %s", d, at)
	}
	tr.Forget()
	if d, at := feed(&tr, start, time.Minute, 4, known(0)); d.Desired != 2 || at != 10*time.Second {
		t.Errorf("idle: %+v after %s", d, at)
	}
	if d, _ := feed(&tr, start.Add(time.Hour), time.Minute, 2, known(0)); d.Desired != 2 {
		t.Errorf("below the fewest: %+v", d)
	}
}

func TestMissingFiguresNeverTakeAway(t *testing.T) {
	for name, in := range map[string]Reading{
		"none": {Why: "nobody answers"}, "NaN": known(math.NaN()), "infinite": known(math.Inf(1)), "negative": known(-1),
	} {
		var tr Tracker
		d, _ := feed(&tr, time.Unix(0, 0), time.Hour, 6, in)
		if d.Desired != 6 || !strings.Contains(d.Why, "no figure") {
			t.Errorf("%s: %+v", name, d)
		}
	}
	// One that is missing in the midst of idleness begins the span anew.
	var tr Tracker
	start := time.Unix(0, 0)
	feed(&tr, start, 9*time.Second, 6, known(0))
	tr.Look(start.Add(9500*time.Millisecond), rule, 6, Reading{})
	if d, at := feed(&tr, start.Add(9750*time.Millisecond), time.Minute, 6, known(0)); d.Desired != 2 || at != 10*time.Second {
		t.Errorf("%+v after %s", d, at)
	}
}

func TestNearTheTargetNothingChanges(t *testing.T) {
	for _, total := range []float64{15, 16, 17.5} {
		var tr Tracker
		if d, _ := feed(&tr, time.Unix(0, 0), time.Minute, 2, known(total)); d.Desired != 2 {
			t.Errorf("%g: %+v", total, d)
		}
	}
	// What it came down to is not at once too few again.
	var tr Tracker
	d, _ := feed(&tr, time.Unix(0, 0), time.Minute, 5, known(23))
	tr.Forget()
	if again, _ := feed(&tr, time.Unix(100, 0), time.Minute, d.Desired, known(23)); d.Desired != 3 || again.Desired != 3 {
		t.Errorf("%+v, then %+v", d, again)
	}
}

func TestBoundsCountWhateverIsRead(t *testing.T) {
	var tr Tracker
	if d := tr.Look(time.Unix(0, 0), rule, 1, Reading{}); d.Desired != 2 {
		t.Errorf("%+v", d)
	}
	if d := tr.Look(time.Unix(0, 0), rule, 12, Reading{}); d.Desired != 10 {
		t.Errorf("%+v", d)
	}
	fixed := rule
	fixed.Max = 2
	for i := range 100 {
		if d := tr.Look(time.Unix(int64(i), 0), fixed, 2, known(100)); d.Desired != 2 {
			t.Fatalf("%+v", d)
		}
	}
}
