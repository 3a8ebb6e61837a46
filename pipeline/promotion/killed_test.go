package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

// fileTarget is a target in a file: what it was told outlives whoever told it.
type fileTarget struct {
	file  string
	point func()

	Stable, Canary, Warm *target.Revision
	Token                int64
	Migrated, Contracted map[string]int
	Served               []string
}

func openFileTarget(file string) (*fileTarget, error) {
	f := &fileTarget{file: file, point: func() {}, Migrated: map[string]int{}, Contracted: map[string]int{}}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	} else if err != nil {
		return nil, err
	}
	return f, json.Unmarshal(b, f)
}

func (f *fileTarget) save() error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(f.file+".new", f.file)
}

func (f *fileTarget) command(token int64, effect func()) error {
	f.point()
	defer f.point()
	if token < f.Token {
		return target.ErrFenced
	}
	f.Token = token
	effect()
	return f.save()
}

func (f *fileTarget) serve(r *target.Revision) {
	if f.Stable = r; r != nil {
		f.Served = append(f.Served, r.Release)
	}
}

func (f *fileTarget) Migrate(_ context.Context, token int64, rev target.Revision) error {
	return f.command(token, func() { f.Migrated[rev.Release]++ })
}

func (f *fileTarget) Contract(_ context.Context, token int64, rev target.Revision) error {
	return f.command(token, func() { f.Contracted[rev.Release] = 1 })
}

func (f *fileTarget) StartCanary(_ context.Context, token int64, rev target.Revision, _ int) error {
	return f.command(token, func() { f.Canary = &rev })
}

func (f *fileTarget) Complete(_ context.Context, token int64, rev target.Revision) error {
	return f.command(token, func() {
		if id(f.Stable) != rev.ID() {
			f.Warm, f.Canary = f.Stable, nil
			f.serve(&rev)
		}
	})
}

func (f *fileTarget) Withdraw(_ context.Context, token int64) error {
	return f.command(token, func() {
		if f.Canary = nil; f.Warm != nil {
			f.serve(f.Warm)
			f.Warm = nil
		}
	})
}

func (f *fileTarget) Retire(_ context.Context, token int64) error {
	return f.command(token, func() { f.Warm = nil })
}

func (f *fileTarget) Status(context.Context) (target.Status, error) {
	return target.Status{
		Revision: id(f.Stable), Stable: released(f.Stable), Canary: released(f.Canary), Warm: released(f.Warm), Token: f.Token,
	}, nil
}

func (f *fileTarget) Arms(context.Context) (target.Arms, error) {
	return target.Arms{Stable: target.Arm{Release: released(f.Stable)}, Canary: target.Arm{Release: released(f.Canary)}}, nil
}

// The variables by which TestKilledAnywhere tells a process of its own what to do.
const (
	killedIn = "GATE_TEST_KILLED_IN" // folder
	killedAt = "GATE_TEST_KILLED_AT" // moment; 0: never
)

// TestKilledProcess is no test: it is the process that TestKilledAnywhere kills.
func TestKilledProcess(t *testing.T) {
	dir := os.Getenv(killedIn)
	if dir == "" {
		return
	}
	at, err := strconv.Atoi(os.Getenv(killedAt))
	must(t, err)
	passed := 0
	point := func() {
		if passed++; passed == at {
			must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {} // nothing more is done
		}
	}
	key, _, err := ledger.LoadOrCreateKey(filepath.Join(dir, "key"))
	must(t, err)
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, App: "shop", Signer: key, Now: time.Now})
	must(t, err)
	defer l.Close()
	f, err := openFileTarget(filepath.Join(dir, "target.json"))
	must(t, err)
	f.point = point
	j := &Journal{Ledger: l, Now: time.Now, Appended: point}
	decision := func(rec *ReleaseRecord) (DecisionRecord, error) {
		return DecisionRecord{Decision: policies.Decision{ID: digest('9'), Release: rec.Release, Verdict: policies.Pass}}, nil
	}
	e := &Engine{
		Environment: "production", Journal: j, Target: f, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Tick: 2 * time.Millisecond,
		Now: func() time.Time { point(); return time.Now() },
		decide: func(_ context.Context, _ *View, rec *ReleaseRecord) (DecisionRecord, error) {
			return decision(rec)
		},
		compare: func(_ context.Context, rec *ReleaseRecord, _ int, _ target.Arms) (DecisionRecord, error) {
			return decision(rec)
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	eventually(t, "nothing is left to do", func() bool {
		v, err := j.View(t.Context())
		must(t, err)
		pending, err := j.Pending(t.Context(), v, "production")
		must(t, err)
		return len(pending) == 0 && v.Environment("production").Active == nil
	})
	cancel()
	must(t, <-ended)
}

// TestKilledAnywhere kills the process that carries out a promotion, by SIGKILL,
// after every record and command and between them. The next one finds the world
// wholly old or wholly new, or makes it so.
func TestKilledAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in short mode: killing a process at each moment of a promotion takes about 10 s")
	}
	for name, c := range map[string]struct {
		back bool
		may  []string
	}{
		"a good release with a contract": {false, []string{digest('a'), digest('b')}},
		"a rollback":                     {true, []string{digest('a')}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template := filepath.Join(t.TempDir(), "state")
			s := sceneIn(t, template, nil)
			record := func(c byte, change ...func(*ReleaseRecord)) string {
				d, err := s.journal.Release(t.Context(), releaseRecord(c, change...))
				must(t, err)
				return d
			}
			f, err := openFileTarget(filepath.Join(template, "target.json"))
			must(t, err)
			accepted := func(record string) {
				r := s.view().Releases[record]
				rev := r.Revision("production")
				f.serve(&rev)
				_, err := s.journal.Record(t.Context(), Transition{Request: r.Commit, Environment: "production", Record: record, Release: r.Release, Step: End, State: Succeeded})
				must(t, err)
			}
			accepted(record('a'))
			b, asked := record('b', inSteps(5, 50), contracts("drop-old")), byte('b')
			if c.back {
				accepted(b)
				asked = 'a'
			}
			must(t, f.save())
			started := len(f.Served)
			request := s.ask("production", asked, func(r *Request) { r.Rollback = c.back })
			must(t, s.ledger.Close())

			process := func(dir string, at int) (killed bool) {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilledProcess$")
				cmd.Env = append(os.Environ(), killedIn+"="+dir, fmt.Sprintf("%s=%d", killedAt, at))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
					return true
				}
				if err != nil {
					t.Fatalf("killed at %d: %v\n%s", at, err, out)
				}
				return false
			}
			for at := 1; ; at++ {
				dir := filepath.Join(t.TempDir(), fmt.Sprint("killed-at-", at))
				copyFolder(t, template, dir)
				if !process(dir, at) {
					if at < 12 {
						t.Errorf("only %d moments were tried", at)
					}
					t.Logf("killed at %d moments", at-1)
					return
				}
				if at%5 == 0 {
					process(dir, 1+at%4) // bad luck does not come alone
				}
				process(dir, 0)
				f, err := openFileTarget(filepath.Join(dir, "target.json"))
				must(t, err)
				last := sceneIn(t, dir, nil)
				v := last.view()
				ev := v.Environment("production")
				serves := released(f.Stable)
				if !slices.Contains(c.may, serves) || f.Canary != nil || f.Warm != nil || v.Releases[ev.Desired] == nil || v.Releases[ev.Desired].Release != serves {
					t.Errorf("killed at %d, %.15s serves beside %.15s and %.15s, and %.15s is desired", at, serves, released(f.Canary), released(f.Warm), ev.Desired)
				}
				if n := f.Migrated[digest('b')]; n > 1 {
					t.Errorf("killed at %d, the schema was migrated %d times", at, n)
				}
				if len(f.Served)-started > 2 {
					t.Errorf("killed at %d, the traffic went to and fro: %.15v", at, f.Served)
				}
				if end := ev.Consumed[request]; end == nil || (end.State == Succeeded) != (serves == digest(asked)) {
					t.Errorf("killed at %d: %.15s serves, and the request ended as %+v", at, serves, end)
				}
				if _, err := last.ledger.Verify(t.Context()); err != nil {
					t.Errorf("killed at %d: %v", at, err)
				}
				must(t, last.ledger.Close())
				must(t, os.RemoveAll(dir))
				if t.Failed() {
					return
				}
			}
		})
	}
}
