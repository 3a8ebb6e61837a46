package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/pipeline/claim"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/pipeline/target/local"
)

// ApartFlags are those of verbs that may work apart: on a ledger, with a key and
// in environments of their own, which are gone when they end. What they measured
// is handed to a machine that runs no code of the change and signs.
type ApartFlags struct {
	Apart    bool     `help:"Work apart: on a copy of the ledger and in environments of its own, which are gone in the end."`
	Base     string   `placeholder:"REV" help:"With --apart: take policies, thresholds and trust from this commit."`
	Nonce    string   `placeholder:"TEXT" help:"With --apart: what all evidence repeats, so that nothing older can stand for it."`
	With     []string `placeholder:"DIR" help:"With --apart: take evidence of the same call from DIR; may be given again."`
	Evidence string   `placeholder:"DIR" help:"With --apart: write the evidence to DIR, for gate evidence import."`
}

func (a ApartFlags) validate() error {
	switch {
	case !a.Apart && (a.Base != "" || a.Nonce != "" || len(a.With) > 0 || a.Evidence != ""):
		return &Exit{promotion.CodeUsage, errors.New("--base, --nonce, --with and --evidence go with --apart")}
	case a.Apart && a.Nonce == "" && (len(a.With) > 0 || a.Evidence != ""):
		return &Exit{promotion.CodeUsage, errors.New("--with and --evidence need --nonce: a text that no other call has")}
	}
	return nil
}

// apartName is a file in a state directory that is apart: whoever opens that,
// the daemons that are started there among them, works apart as well.
const apartName = "apart.json"

// apart is its content.
type apart struct {
	Base string `json:"base"` // commit by which is judged; empty: the clone as it is
}

// readApart is nil for a state directory that is not apart.
func readApart(state string) (*apart, error) {
	b, err := os.ReadFile(filepath.Join(state, apartName))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil // a state directory that is none is complained of where it is made
	} else if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var a apart
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("state directory: %s: %w", apartName, err)
	}
	return &a, nil
}

func (a *apart) write(state string) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(state, apartName), b, 0o600)
}

// makeApart makes a state directory that is apart. done stops what runs in it
// and removes it.
func (g *Globals) makeApart(ctx context.Context, a ApartFlags) (at *Globals, done func() error, err error) {
	// Short, since unix sockets below it must fit 108 bytes; to be entered by
	// the users that PostgreSQL and instances run as.
	dir, err := os.MkdirTemp("", "gate-apart-")
	if err != nil {
		return nil, nil, fmt.Errorf("state directory: %w", err)
	}
	done = func() error { return leaveApart(dir) }
	err = os.Chmod(dir, 0o711)
	if err == nil {
		err = (&apart{Base: a.Base}).write(dir)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("state directory: %w", err), done())
	}
	copied := *g
	copied.Getenv = func(name string) string {
		if name == "GATE_STATE" {
			return dir
		}
		return g.Getenv(name)
	}
	return &copied, done, nil
}

// leaveApart stops every environment of the state directory and removes it.
func leaveApart(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	names, errs := local.Environments(dir)
	for _, name := range names {
		err := local.NewClient(local.Paths{State: dir, Environment: name}).Down(ctx)
		if err != nil && !errors.Is(err, local.ErrNoDaemon) {
			errs = errors.Join(errs, fmt.Errorf("stop %s: %w", name, err))
		}
	}
	return errors.Join(errs, os.RemoveAll(dir))
}

// handOver writes what was measured to the folder that was asked for, and what
// people want to read beside it.
func (s *session) handOver(dir string, res *run.Result, a *run.Apart) error {
	c, evidence := res.Claim(a)
	if err := claim.Write(dir, c, evidence); err != nil {
		return err
	}
	for name, render := range map[string]func(*os.File) error{
		"result.json":  func(f *os.File) error { return report.JSON(f, res) },
		"report.md":    func(f *os.File) error { return report.Summary(f, res, "") },
		"report.sarif": func(f *os.File) error { return report.SARIF(f, res) },
		"report.html":  func(f *os.File) error { return report.HTML(f, res) },
	} {
		if name == "report.html" && len(res.Decisions) == 0 {
			continue
		}
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write evidence: %w", err)
		}
		if err := errors.Join(render(f), f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
