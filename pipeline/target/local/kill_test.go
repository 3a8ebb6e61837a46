package local

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/environments"
)

// notes is a release of the service that keeps every note it is sent, twice where
// it is sent twice.
func (p *place) notes() {
	p.t.Helper()
	dir := filepath.Join(filepath.Dir(p.opt.Paths.State), "notes")
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("../../../testdata/foreign")); err != nil {
		p.t.Fatal(err)
	}
	env := map[string]string{"HTTP_PORT": "${PORT}", "PG_DSN": "${DATABASE_URL}"}
	p.releases["notes"] = makeRelease(p.t, p.opt.Store, dir, &environments.App{
		Name: "notes", Migrate: &environments.Migrate{Args: []string{"db-up"}, Env: env, Timeout: environments.Duration(time.Minute)},
		Serve: environments.Serve{
			Args: []string{"run"}, Env: env, Ready: "/healthz",
			StartTimeout: environments.Duration(15 * time.Second), StopTimeout: environments.Duration(10 * time.Second),
		},
	})
}

// TestKilledInstancesLoseNoGetAndRepeatNoPost: kill -9 of instances of every arm
// under load, and the database says what was carried out.
func TestKilledInstancesLoseNoGetAndRepeatNoPost(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: some seconds with a real app and a real PostgreSQL. Without it only a stand-in is known to repeat no POST")
	}
	t.Parallel()
	p := newPlace(t)
	p.notes()
	p.must(p.Migrate(t.Context(), 1, p.rev("notes")))
	p.must(p.Complete(t.Context(), 1, p.rev("notes")))
	p.must(p.Retire(t.Context(), 1))
	// The same code under another configuration is a revision of its own.
	next := p.rev("notes")
	declared := *next.Environment
	declared.Config = map[string]string{"EDITION": "next"}
	next.Environment = &declared
	p.must(p.StartCanary(t.Context(), 2, next, 30))
	c := p.gather(4, func(c *crowd) {
		c.get, c.post, c.created, c.mayLosePost = "/notes", "/notes", http.StatusCreated, true
		c.body = func(id string) string { return fmt.Sprintf(`{"text":%q}`, id) }
	})
	kills := 0
	for _, role := range []string{"stable", "canary", "baseline", "stable"} {
		before := c.total()
		p.eventually("more requests", func() bool { return c.total() > before+200 })
		pid := p.pids(role)[0]
		p.must(syscall.Kill(pid, syscall.SIGKILL))
		kills++
		p.eventually("it is back", func() bool {
			pids := p.pids(role)
			return !slices.Contains(pids, pid) && !slices.Contains(pids, 0) && len(p.unwell()) == 0
		})
	}
	before := c.total()
	p.eventually("more requests", func() bool { return c.total() > before+200 })
	c.disperse(t)
	arms, err := p.Arms(t.Context())
	p.must(err)
	if arms.Canary.Restarts != 1 || arms.Baseline.Restarts != 1 || arms.Stable.Restarts != 2 {
		t.Errorf("restarts: stable %d, baseline %d, canary %d", arms.Stable.Restarts, arms.Baseline.Restarts, arms.Canary.Restarts)
	}
	conn, err := pgx.Connect(t.Context(), p.database().AppURL())
	p.must(err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SELECT text, count(*) FROM notes GROUP BY text")
	p.must(err)
	counted := map[string]int{}
	var text string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&text, &n}, func() error { counted[text] = n; return nil })
	p.must(err)
	posts, unknown := 0, 0
	for id, answered := range c.kept {
		posts++
		switch n := counted[id]; {
		case n > 1:
			t.Errorf("POST %s was carried out %d times", id, n)
		case answered && n == 0:
			t.Errorf("POST %s was answered, and is not in the database", id)
		case !answered && n == 1:
			unknown++
		}
	}
	t.Logf("%d kills, %d POSTs, %d rows; %d POSTs that were not answered had been carried out", kills, posts, len(counted), unknown)
	if lost := c.lost.Load(); lost > int64(12*kills) { // no more than were in flight
		t.Errorf("%d POSTs lost in %d kills, by 12 clients", lost, kills)
	}
}

// unwell are the instances that are not healthy.
func (p *place) unwell() (ids []string) {
	for _, in := range p.now().Instances {
		if in.Health != "healthy" {
			ids = append(ids, in.ID)
		}
	}
	return ids
}

func (p *place) eventually(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("never: %s", what)
		}
	}
}

// TestHungInstanceLosesNobody: SIGSTOP of a canary under load, which has no other
// of its kind. It is out of the traffic within 3 s, and whoever had asked it is answered by another one in the
// end.
func TestHungInstanceLosesNobody(t *testing.T) {
	t.Parallel()
	p := serving(t, nil, "one", "two")
	p.must(p.StartCanary(t.Context(), 2, p.rev("two"), 20))
	c := p.gather(2, func(c *crowd) { c.mayLosePost = true })
	before := c.total()
	p.eventually("requests", func() bool { return c.total() > before+50 })
	p.must(syscall.Kill(p.pids("canary")[0], syscall.SIGSTOP))
	stopped := time.Now()
	p.eventually("it gets no traffic", func() bool { return len(p.unwell()) == 1 })
	out := time.Since(stopped)
	p.eventually("it was replaced", func() bool { return len(p.unwell()) == 0 && p.sup.Restarts() == 1 })
	t.Logf("out after %s, replaced after %s", out.Round(10*time.Millisecond), time.Since(stopped).Round(10*time.Millisecond))
	if out > 3*time.Second {
		t.Errorf("it had traffic for %s, want at most 3 s", out)
	}
	c.disperse(t)
}
