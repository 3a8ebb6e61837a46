package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// updates replaces all instances twenty times in a row under load: no client
// may notice one of them.
func (d *drills) updates() {
	const rounds, rate = 20, 300
	client := d.client("staging")
	before := d.healthy("staging", 10*time.Second)
	tr := d.drive("staging", rate)
	served := before.Actual.Stable
	pids := instances(before)
	var table strings.Builder
	for i := range rounds {
		to := d.other(served)
		began := time.Now()
		n, err := client.Replace(d.t.Context(), to)
		took := time.Since(began)
		if err != nil || n != len(pids) {
			d.t.Fatalf("update %d replaced %d of %d instances: %v", i+1, n, len(pids), err)
		}
		now, err := client.Status(d.t.Context())
		if err != nil || now.Stable != to || now.Canary != "" {
			d.t.Fatalf("update %d: %.19s serves beside canary %q, want %.19s: %v", i+1, now.Stable, now.Canary, to, err)
		}
		fresh := map[string]int{}
		for _, in := range now.Instances {
			fresh[in.ID] = in.PID
			if _, old := pids[in.ID]; old || in.Release != to {
				d.t.Errorf("update %d left instance %s of release %.19s", i+1, in.ID, in.Release)
			}
		}
		if len(fresh) != len(pids) {
			d.t.Errorf("update %d: %d instances became %d", i+1, len(pids), len(fresh))
		}
		sent := tr.count(func(a asked) bool { return a.sent.After(began) && a.sent.Before(began.Add(took)) })
		if sent == 0 {
			d.t.Errorf("no request was sent during update %d: it shows nothing", i+1)
		}
		fmt.Fprintf(&table, "\n  update %2d to %.15s  %7s  %4d requests meanwhile", i+1, to, took.Round(time.Millisecond), sent)
		served, pids = to, fresh
	}
	tr.faultless(d.t, nil)
	for _, release := range []string{d.a, d.b} {
		if tr.count(func(a asked) bool { return a.release == release }) == 0 {
			d.t.Errorf("release %.19s never answered", release)
		}
	}
	writes := tr.count(func(a asked) bool { return strings.HasPrefix(a.what, "POST ") })
	d.t.Logf("%d updates: %s; %d requests were writes%s", rounds, tr, writes, table.String())
	if writes == 0 {
		d.t.Error("nothing was written")
	}
	d.keptAll("staging", tr)
	if served != before.Actual.Stable {
		d.t.Fatalf("%.19s serves, which is not what is desired", served)
	}
	d.healthy("staging", 10*time.Second)
}

// killedUpdate kills the daemon while it replaces instances: the next one
// brings back what is desired, and all of it.
func (d *drills) killedUpdate() {
	before := d.healthy("staging", 10*time.Second)
	old := instances(before)
	result := make(chan error, 1)
	go func() {
		_, err := d.client("staging").Replace(context.WithoutCancel(d.t.Context()), d.other(before.Actual.Stable))
		result <- err
	}()
	daemon := d.daemon("staging")
	d.eventually(20*time.Second, "half of the instances are replaced", func() bool {
		s, err := d.client("staging").Status(d.t.Context())
		return err == nil && s.Canary != "" && s.Weight > 0 && s.Weight < 100
	})
	d.kill(daemon)
	if err := <-result; err == nil {
		d.t.Fatal("the update was over before its daemon was killed: nothing was drilled")
	}
	d.serve("staging")
	after := d.healthy("staging", 20*time.Second)
	if got := after.Actual; got.Stable != before.Actual.Stable || got.Canary != "" || got.Warm != "" || len(got.Instances) != len(old) {
		d.t.Errorf("staging runs %.19s, canary %q, warm %q in %d instances; want %.19s alone in %d\n%+v", got.Stable, got.Canary, got.Warm, len(got.Instances), before.Actual.Stable, len(old), got.Instances)
	}
	if n, err := d.client("staging").Replace(d.t.Context(), before.Actual.Stable); err != nil || n != len(old) {
		d.t.Errorf("it can't be updated any more: %d replaced, %v", n, err)
	}
}

// takeOver has the daemon replaced by one of another program, and back, under
// load: the load balancer changes its process, and no client may notice.
func (d *drills) takeOver() {
	const rate = 200
	next := d.nextProgram()
	before := d.healthy("staging", 10*time.Second)
	daemon := d.daemon("staging")
	tr := d.drive("staging", rate)

	// Whoever asks for anything with another gate gets its daemon first.
	cmd := d.command(d.t.Context(), d.clone, "promote", before.Actual.Stable, "--to", "staging")
	cmd.Path = next
	if r := d.run(cmd); r.code != promotion.CodePass {
		d.t.Fatalf("ask by another gate: %s", r)
	}
	second := d.daemon("staging")
	if second == daemon {
		d.t.Fatal("the daemon was not replaced")
	}
	// The one that has left serves until its clients have gone.
	d.eventually(20*time.Second, "the first daemon has ended", func() bool { return !running(daemon) })

	third := d.serve("staging", "--take-over").Process.Pid
	d.eventually(20*time.Second, "the third daemon answers", func() bool {
		pid, err := d.client("staging").PID(d.t.Context())
		return err == nil && pid == third
	})
	d.eventually(20*time.Second, "the second daemon has ended", func() bool { return !running(second) })
	enough := time.Now().Add(time.Second)
	d.eventually(10*time.Second, "a second under the third daemon alone", func() bool {
		return time.Now().After(enough)
	})
	tr.faultless(d.t, nil)
	d.t.Logf("two take-overs: %s", tr)
	d.keptAll("staging", tr)
	d.adopted(before.Actual.Stable, instances(before), "staging")
}

// adopted checks that the same processes serve the same release, none of them
// having been restarted.
func (d *drills) adopted(release string, pids map[string]int, environment string) {
	d.t.Helper()
	after := d.healthy(environment, 10*time.Second)
	if after.Actual.Stable != release {
		d.t.Errorf("%s serves %.19s, want %.19s", environment, after.Actual.Stable, release)
	}
	now := instances(after)
	if fmt.Sprint(now) != fmt.Sprint(pids) {
		d.t.Errorf("%s runs in processes %v, and not in those from before, %v", environment, now, pids)
	}
}

// nextProgram is gate in other bytes.
func (d *drills) nextProgram() string {
	d.t.Helper()
	file := filepath.Join(d.root, "gate-next")
	from, err := os.Open(gateBinary)
	if err != nil {
		d.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = io.Copy(to, io.MultiReader(from, strings.NewReader("next")))
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return file
}
