package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// diary keeps what happened, in order. It may be written concurrently.
type diary struct {
	mu      sync.Mutex
	planned []string // before anything else
	lines   []string
	notes   map[string]string
	events  []Event
}

func (d *diary) tell(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Kind == Planned {
		if len(d.lines) > 0 {
			d.lines = append(d.lines, "planned too late: "+e.Step)
		}
		d.planned = append(d.planned, e.Step)
		return
	}
	d.lines = append(d.lines, string(e.Kind)+" "+e.Step)
	d.events = append(d.events, e)
	if d.notes == nil {
		d.notes = map[string]string{}
	}
	if e.Note != "" {
		d.notes[e.Step] = e.Note
	}
}

func (d *diary) has(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.lines, line)
}

func do(f func(context.Context) error) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, _ func(string)) (bool, error) { return false, f(ctx) }
}

func fine(context.Context) error { return nil }

// clock advances by a second each time somebody looks.
func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Unix(0, 0)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func TestExecuteOrder(t *testing.T) {
	var d diary
	err := execute(t.Context(), []step{
		{name: "deploy", needs: []string{"test", "build"}, do: do(fine)},
		{name: "test", needs: []string{"build"}, do: func(_ context.Context, note func(string)) (bool, error) {
			note("42 passed")
			return true, nil
		}},
		{name: "build", estimate: time.Minute, do: do(fine)},
	}, clock(), d.tell)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"started build", "finished build", "started test", "noted test", "reused test", "started deploy", "finished deploy"}
	if !slices.Equal(d.lines, want) {
		t.Errorf("got %q, want %q", d.lines, want)
	}
	if !slices.Equal(d.planned, []string{"deploy", "test", "build"}) {
		t.Errorf("planned %q", d.planned)
	}
	if d.events[0].Estimate != time.Minute || d.events[1].Took <= 0 {
		t.Errorf("estimate %s, took %s", d.events[0].Estimate, d.events[1].Took)
	}
}

// TestExecuteOverlaps: two steps that each wait for the other to run.
func TestExecuteOverlaps(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	here, there := make(chan struct{}), make(chan struct{})
	meet := func(mine, other chan struct{}) func(context.Context) error {
		return func(ctx context.Context) error {
			close(mine)
			select {
			case <-other:
				return nil
			case <-ctx.Done():
				return errors.New("alone")
			}
		}
	}
	if err := execute(ctx, []step{{name: "a", do: do(meet(here, there))}, {name: "b", do: do(meet(there, here))}}, time.Now, func(Event) {}); err != nil {
		t.Fatal(err)
	}
}

func TestExecuteFirstErrorStops(t *testing.T) {
	var d diary
	boom := errors.New("boom")
	running := make(chan struct{})
	err := execute(t.Context(), []step{
		{name: "slow", do: do(func(ctx context.Context) error {
			close(running)
			<-ctx.Done() // it is stopped, not waited for
			if !errors.Is(context.Cause(ctx), boom) {
				t.Errorf("stopped because of %v", context.Cause(ctx))
			}
			return ctx.Err()
		})},
		{name: "broken", do: do(func(context.Context) error { <-running; return boom })},
		{name: "after", needs: []string{"slow"}, do: do(func(context.Context) error { t.Error("it began all the same"); return nil })},
	}, time.Now, d.tell)
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want the first error", err)
	}
	for _, want := range []string{"failed broken", "failed slow", "skipped after"} {
		if !d.has(want) {
			t.Errorf("%q was not told: %q", want, d.lines)
		}
	}
	if d.notes["broken"] != "boom" || d.notes["slow"] != "another step has decided" {
		t.Errorf("notes %v", d.notes)
	}
}

func TestExecuteStoppedFromOutside(t *testing.T) {
	var d diary
	gone := errors.New("the user has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := execute(ctx, []step{
		{name: "a", do: do(func(ctx context.Context) error { cancel(gone); <-ctx.Done(); return context.Cause(ctx) })},
		{name: "b", needs: []string{"a"}, do: do(fine)},
	}, time.Now, d.tell)
	if !errors.Is(err, gone) || !d.has("skipped b") || d.notes["a"] != "stopped from outside" {
		t.Errorf("got %v, %q, %v", err, d.lines, d.notes)
	}

	// A step that takes no notice ends well, and still nothing more begins.
	d = diary{}
	ctx, cancel = context.WithCancelCause(t.Context())
	err = execute(ctx, []step{
		{name: "a", do: do(func(context.Context) error { cancel(gone); return nil })},
		{name: "b", needs: []string{"a"}, do: do(fine)},
	}, time.Now, d.tell)
	if !errors.Is(err, gone) || !d.has("finished a") || !d.has("skipped b") {
		t.Errorf("got %v, %q", err, d.lines)
	}

	// And one that was over before it began runs nothing.
	d = diary{}
	if err := execute(ctx, []step{{name: "a", do: do(fine)}}, time.Now, d.tell); !errors.Is(err, gone) || !d.has("skipped a") {
		t.Errorf("got %v, %q", err, d.lines)
	}
}

func TestExecuteRefusesBadGraphs(t *testing.T) {
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"a need that is not there": {[]step{{name: "a", needs: []string{"b"}, do: do(fine)}}, `"a" needs "b"`},
		"twice":                    {[]step{{name: "a", do: do(fine)}, {name: "a", do: do(fine)}}, `"a" stands twice`},
		"itself":                   {[]step{{name: "a", needs: []string{"a"}, do: do(fine)}}, "circle: 0 of 1"},
		"a circle":                 {[]step{{name: "x", do: do(fine)}, {name: "a", needs: []string{"b", "x"}, do: do(fine)}, {name: "b", needs: []string{"a"}, do: do(fine)}}, "circle: 1 of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := execute(t.Context(), c.steps, time.Now, func(Event) {}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := execute(t.Context(), nil, time.Now, func(Event) {}); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
}

// TestExecuteExclusive: a measurement waits until it is alone, and others wait
// until it has ended.
func TestExecuteExclusive(t *testing.T) {
	var d diary
	alone := func(s string) func(context.Context) error {
		return func(context.Context) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			open := 0
			for _, l := range d.lines {
				switch verb, _, _ := strings.Cut(l, " "); verb {
				case "started":
					open++
				case "finished":
					open--
				}
			}
			if open != 1 {
				t.Errorf("%d steps run beside %s", open-1, s)
			}
			return nil
		}
	}
	err := execute(t.Context(), []step{
		{name: "load", exclusive: true, do: do(alone("load"))},
		{name: "update", exclusive: true, do: do(alone("update"))},
		{name: "a", do: do(fine)},
		{name: "b", needs: []string{"load"}, do: do(fine)},
	}, time.Now, d.tell)
	if err != nil {
		t.Fatal(err)
	}
	if d.lines[0] != "started a" {
		t.Errorf("what can overlap goes first, not %q", d.lines[0])
	}
}

// TestExecuteAnyGraph: whatever the graph, needs come first, an exclusive step
// is alone, nothing begins after an error, and each step is told once.
func TestExecuteAnyGraph(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(r, "steps")
		var mu sync.Mutex
		running, done := map[string]bool{}, map[string]bool{}
		failed := false
		var wrong []string
		var steps []step
		exclusive, failing := map[string]bool{}, map[string]bool{}
		for i := range n {
			s := step{name: fmt.Sprint(i)}
			s.exclusive = rapid.IntRange(0, 3).Draw(r, "exclusive") == 0
			exclusive[s.name] = s.exclusive
			failing[s.name] = rapid.IntRange(0, 9).Draw(r, "fails") == 0
			for j := range i {
				if rapid.IntRange(0, 3).Draw(r, "needs") == 0 {
					s.needs = append(s.needs, fmt.Sprint(j))
				}
			}
			name, needs := s.name, s.needs
			s.do = do(func(context.Context) error {
				mu.Lock()
				for _, need := range needs {
					if !done[need] {
						wrong = append(wrong, fmt.Sprintf("%s ran before %s, which it needs", name, need))
					}
				}
				running[name] = true
				for other := range running {
					if other != name && (exclusive[name] || exclusive[other]) {
						wrong = append(wrong, fmt.Sprintf("%s ran beside %s", name, other))
					}
				}
				mu.Unlock()
				time.Sleep(50 * time.Microsecond) // so that there is something to overlap with
				mu.Lock()
				defer mu.Unlock()
				delete(running, name)
				if failing[name] {
					failed = true
					return errors.New("boom")
				}
				done[name] = true
				return nil
			})
			steps = append(steps, s)
		}
		// The order in which they are listed means nothing.
		for i := range steps {
			j := rapid.IntRange(0, i).Draw(r, "swap")
			steps[i], steps[j] = steps[j], steps[i]
		}
		var d diary
		err := execute(context.Background(), steps, time.Now, d.tell)
		if len(wrong) > 0 {
			r.Fatal(wrong)
		}
		if (err != nil) != failed {
			r.Fatalf("error %v, and a step failed: %v", err, failed)
		}
		if !failed && len(done) != n {
			r.Fatalf("%d of %d steps are done", len(done), n)
		}
		for _, s := range steps {
			count := map[string]int{}
			for _, kind := range []EventKind{Started, Finished, Failed, Skipped} {
				for _, l := range d.lines {
					if l == string(kind)+" "+s.name {
						count[string(kind)]++
					}
				}
			}
			begun, ended, skipped := count["started"], count["finished"]+count["failed"], count["skipped"]
			if begun+skipped != 1 || ended != begun {
				r.Fatalf("step %s: started %d, ended %d, skipped %d times", s.name, begun, ended, skipped)
			}
		}
	})
}
