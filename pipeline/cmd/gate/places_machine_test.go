package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// blocked runs commands that need what the machine does not give. Each must end
// with the code and one line that says why, and leave the clone as it was, no
// process, and nothing on record.
func (w *world) blocked(t *testing.T, code int, says []string, commands ...[]string) {
	t.Helper()
	clone := snapshot(t, w.clone)
	for _, args := range commands {
		name := "gate " + strings.Join(args, " ")
		r := w.gate(args...)
		if r.code != code {
			t.Errorf("%s: want exit %d\n%s", name, code, r)
		}
		line := errorLine(t, r)
		for _, s := range says {
			if !strings.Contains(line, s) {
				t.Errorf("%s: lacks %q\n%s", name, s, line)
			}
		}
		if plain(t, name, r, nil); strings.Contains(r.out+r.err, "hunter2") {
			t.Errorf("%s: a password is said\n%s", name, r)
		}
		if args[len(args)-1] == "json" && args[0] != "serve" {
			if o := parsed[outcome](t, r); o.Exit != 1 || o.Summary == "" || len(o.Promotions) > 0 {
				t.Errorf("%s: %+v", name, o)
			}
		}
		w.settled(t)
	}
	if diff := cmp.Diff(clone, snapshot(t, w.clone)); diff != "" {
		t.Errorf("the clone was changed: %s", diff)
	}
	for _, e := range []string{"staging", "production"} {
		if h := parsed[[]any](t, w.want(0, "history", e, "-o", "json")); len(h) > 0 {
			t.Errorf("on record in %s: %v", e, h)
		}
	}
}

// settled fails when a process of the world runs on: what is stopped in the
// middle may take a moment to end.
func (w *world) settled(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for {
		left := w.processes()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes are left: %v", left)
		}
		<-time.After(20 * time.Millisecond)
	}
}

var wantStaging = [][]string{{"serve", "staging"}, {"deploy", "staging", "-o", "json"}}

func TestTakenPort(t *testing.T) {
	w := foreignWorld(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", w.ports["staging"]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.blocked(t, 1, []string{
		fmt.Sprintf("another program listens on 127.0.0.1:%d of environment staging", w.ports["staging"]),
		"stop it, or declare another address in environments/staging.yaml",
	}, wantStaging...)
	if r := w.want(0, "down", "staging"); r.out != "staging does not run\n" {
		t.Errorf("what could not start need not be stopped\n%s", r)
	}
}

// TestForeignPort: two clones of one repository, each with a state of its own,
// want the same address.
func TestForeignPort(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED under -short: that two clones do not take each other's address is NOT tested; makes a PostgreSQL cluster, about 4 s")
	}
	owner := foreignWorld(t)
	owner.serve(t, "staging")
	id := ledgerID(t, owner)
	late := emptyWorld(t)
	late.ports = owner.ports
	late.git("clone", "-q", "file://"+owner.clone, late.clone)
	clone, keys := snapshot(t, owner.clone), snapshot(t, filepath.Join(owner.state, "ledger.git"))
	late.blocked(t, 6, []string{
		fmt.Sprintf("127.0.0.1:%d serves staging of ledger %s in the state directory %s", owner.ports["staging"], id, owner.state),
		"use that with GATE_STATE=" + owner.state, "or declare another address in environments/staging.yaml",
	}, []string{"serve", "staging"}, []string{"deploy", "staging"})
	if !owner.answers("staging") {
		t.Error("the owner was disturbed")
	}
	if diff := cmp.Diff([]map[string]string{clone, keys}, []map[string]string{snapshot(t, owner.clone), snapshot(t, filepath.Join(owner.state, "ledger.git"))}); diff != "" {
		t.Errorf("the owner's clone or ledger was changed: %s", diff)
	}
	// Whoever does as the line says is let in.
	if !late.with("GATE_STATE=" + owner.state).answers("staging") {
		t.Error("GATE_STATE of the owner does not lead to the owner's environment")
	}
	owner.want(0, "down", "staging")
}

func ledgerID(t *testing.T, w *world) string {
	t.Helper()
	return parsed[struct {
		Ledger string `json:"ledger"`
	}](t, w.want(0, "ledger", "verify", "-o", "json")).Ledger
}

func TestUnusableDatabase(t *testing.T) {
	w := foreignWorld(t)
	w.replace("environments/staging.yaml", "database: {}", "database: {url_env: STAGING_URL}")
	w.commit("a database of our own")
	t.Run("nobody listens", func(t *testing.T) {
		w.with("STAGING_URL=postgres://u:hunter2@127.0.0.1:1/postgres").blocked(t, 1,
			[]string{"database of staging", "127.0.0.1:1", "connection refused", "check host, port and firewall"}, wantStaging...)
	})
	t.Run("no URL", func(t *testing.T) {
		w.with("STAGING_URL=postgres://u:hunter2@host:port/db").blocked(t, 1,
			[]string{"database of staging", "URL is not valid", "postgres://USER:PASSWORD@HOST:PORT/DATABASE"}, wantStaging[0])
	})
	if testing.Short() {
		t.Skip("SKIPPED under -short: wrong passwords and too few rights are NOT tested; makes a PostgreSQL cluster, about 3 s")
	}
	admin, app := realCluster(t)
	wrong := *admin
	wrong.User = url.UserPassword(admin.User.Username(), "hunter2")
	t.Run("wrong password", func(t *testing.T) {
		w.with("STAGING_URL="+wrong.String()).blocked(t, 1,
			[]string{"database of staging", admin.Host, "refused the login", "check user and password"}, wantStaging[0])
	})
	t.Run("too few rights", func(t *testing.T) {
		w.with("STAGING_URL="+app.String()).blocked(t, 1,
			[]string{"database of staging", admin.Host, "not enough privileges", "needs CREATEROLE and CREATEDB"}, wantStaging[0])
	})
	t.Run("no such database", func(t *testing.T) {
		none := *admin
		none.Path = "/nowhere"
		w.with("STAGING_URL="+none.String()).blocked(t, 1,
			[]string{"database of staging", admin.Host, `"nowhere" does not exist`, "such as postgres"}, wantStaging[0])
	})
	t.Run("and no password is repeated", func(t *testing.T) {
		secret, _ := app.User.Password()
		w.hides(t, "hunter2", secret)
	})
	t.Run("and a good one is used", func(t *testing.T) {
		x := w.with("STAGING_URL=" + admin.String())
		x.serve(t, "staging")
		all := parsed[[]struct{ Actual struct{ Database string } }](t, w.want(0, "status", "staging", "-o", "json"))
		if len(all) != 1 || !strings.Contains(all[0].Actual.Database, admin.Host) {
			t.Errorf("got %+v", all)
		}
		x.want(0, "down", "staging")
	})
}

// realCluster runs a PostgreSQL until the test ends: the URL of a superuser, and
// of a user who may hardly do anything.
func realCluster(t *testing.T) (admin, app *url.URL) {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate-cluster-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Open(t.Context(), cluster.Options{Dir: filepath.Join(dir, "pg"), Name: "scratch", Path: os.Getenv("PATH")})
	if err != nil {
		os.RemoveAll(dir)
		t.Skipf("SKIPPED, NOT SHOWN HERE: no PostgreSQL can be run: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	for _, p := range []struct {
		to  **url.URL
		url string
	}{{&admin, c.AdminURL()}, {&app, c.AppURL()}} {
		if *p.to, err = url.Parse(p.url); err != nil {
			t.Fatal(err)
		}
	}
	return admin, app
}

// hides fails when one of the secrets can be read in the state directory, the
// ledger's packed objects included, outside of where a secret belongs.
func (w *world) hides(t *testing.T, secrets ...string) {
	t.Helper()
	text := w.ledgerText(t)
	err := filepath.WalkDir(w.state, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/postgres/") || strings.Contains(path, "/ledger.git/") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, s := range secrets {
			if strings.Contains(string(b), s) {
				t.Errorf("%s holds a secret", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Error("the ledger holds a secret")
		}
	}
}

// ledgerText is all that the ledger's statements and requests say.
func (w *world) ledgerText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, e := range parsed[[]struct{ Digest string }](t, w.want(0, "evidence", "list", "-o", "json")) {
		all.WriteString(w.want(0, "evidence", "show", e.Digest).out)
	}
	for _, e := range []string{"staging", "production"} {
		all.WriteString(w.want(0, "history", e, "-o", "json").out)
	}
	return all.String()
}
