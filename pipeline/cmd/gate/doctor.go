package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/target/local"
	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// DoctorCmd looks for what gate needs. It changes nothing.
type DoctorCmd struct {
	Postgres bool `help:"Print the folder with PostgreSQL's programs alone, and download them if this machine has none."`
	GitHub   bool `name:"github" help:"Look at the repository's files and settings on GitHub instead."`
}

// finding is one thing that doctor looked at.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Got  string `json:"got"`
	Next string `json:"next,omitempty"`
	// Unknown: it could not be seen, so that OK is false.
	Unknown bool `json:"unknown,omitempty"`
}

// Run looks, and ends with 1 when something that is needed is missing.
func (c DoctorCmd) Run(ctx context.Context, g *Globals) error {
	if c.Postgres {
		return g.postgres(ctx)
	}
	if c.GitHub {
		return g.doctorOfGitHub(ctx)
	}
	var all []finding
	add := func(what, got string, err error, next string) {
		f := finding{What: what, OK: err == nil, Got: got}
		if err != nil {
			f.Got, f.Next = err.Error(), next
		}
		all = append(all, f)
	}
	for _, tool := range []struct{ name, arg, next string }{
		{"git", "--version", "install Git"},
		{"go", "version", "install Go 1.26 or newer and put it on PATH"},
	} {
		out, err := exec.CommandContext(ctx, tool.name, tool.arg).Output()
		add(tool.name, strings.TrimSpace(string(out)), err, tool.next)
	}
	state, err := stateDir(g.Getenv)
	add("state directory", state, errors.Join(err, writable(state)), "make it writable, or set GATE_STATE to another folder")
	if key, err := os.Stat(filepath.Join(state, "keys", "ed25519")); err == nil {
		k, _, kerr := ledger.LoadOrCreateKey(filepath.Join(state, "keys", key.Name()))
		id := ""
		if kerr == nil {
			id = k.ID()
		}
		add("signing key", id, kerr, "chmod 600 it, or restore it from a backup")
	} else {
		add("signing key", "made with the first use", nil, "")
	}
	clone, err := release.OpenClone(ctx, g.Dir, g.Environ)
	if err != nil {
		add("clone", "", err, "run gate in a clone, or with -C DIR")
	} else {
		add("clone", clone.Root, nil, "")
		d, err := environments.Read(os.DirFS(clone.Root))
		add("declarations", "environments/ is valid", err, "gate env validate shows all of it")
		if err == nil {
			for _, e := range d.Environments {
				client := local.NewClient(local.Paths{State: state, Environment: e.Name})
				if st, err := client.Status(ctx); err == nil {
					add(e.Name, fmt.Sprintf("runs at %s on %s", st.Address, st.Database), nil, "")
				} else {
					add(e.Name, "does not run", nil, "")
				}
			}
		}
	}
	pg, err := cluster.Programs(ctx, cluster.Options{BinDir: g.Getenv("GATE_POSTGRES_BIN"), Path: g.Getenv("PATH")})
	if errors.Is(err, cluster.ErrNoPostgres) {
		pg, err = "none on this machine: one is downloaded with the first use", nil
	}
	add("PostgreSQL", pg, err, "install PostgreSQL 13 or newer, or name its folder with GATE_POSTGRES_BIN")
	db := g.Getenv("GOVULNDB")
	if db == "" {
		db = "the live one (set GOVULNDB to use a copy)"
	}
	add("vulnerability database", db, nil, "")
	add("machine", fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), nil, "")

	if g.Output == "json" {
		err = report.JSON(g.Out, all)
	} else {
		err = nil
		for _, f := range all {
			word := "ok  "
			if !f.OK {
				word = "MISS"
			}
			fmt.Fprintf(g.Out, "%s  %-22s %s\n", word, f.What, strings.ReplaceAll(f.Got, "\n", " "))
			if f.Next != "" {
				fmt.Fprintf(g.Out, "      %-22s next: %s\n", "", f.Next)
			}
		}
	}
	for _, f := range all {
		if !f.OK {
			return &Exit{Code: promotion.CodeInternal}
		}
	}
	return err
}

// postgres prints the folder with PostgreSQL's programs.
func (g *Globals) postgres(ctx context.Context) error {
	cache, err := cacheDir(g.Getenv)
	if err != nil {
		return err
	}
	dir, err := cluster.Programs(ctx, cluster.Options{
		BinDir: g.Getenv("GATE_POSTGRES_BIN"), Path: g.Getenv("PATH"), Cache: cache, Log: g.Err,
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(g.Out, dir)
	return err
}

// writable says whether the folder, or the nearest parent that exists, is.
func writable(dir string) error {
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	f, err := os.CreateTemp(dir, ".gate-probe-")
	if err != nil {
		return bare(err)
	}
	defer os.Remove(f.Name())
	// A full disk takes a file, but nothing into it.
	_, err = f.Write(make([]byte, probeBytes))
	return errors.Join(bare(err), bare(f.Sync()), bare(f.Close()))
}

const probeBytes = 64 << 10

// bare is the error without the name of a file that means nothing to anybody.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
