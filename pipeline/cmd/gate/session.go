package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/lmittmann/tint"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/pipeline/target/local"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
	"github.com/smartcloudops/gate/policies"
)

// session is what most verbs need: the clone, its declarations and the state.
type session struct {
	*Globals
	clone *release.Clone
	decl  *environments.Declarations // of the work tree
	state string
	cache string
	apart *apart // nil: on the ledger that counts
	base  *base  // nil: the clone as it is
	log   *slog.Logger

	ledger  *ledger.Ledger
	journal *promotion.Journal
	judge   *promotion.Judge
	store   *release.Store
	reserve *durable.Reserve // for ways back on a full disk; nil: apart
}

// open opens all of it, once the declarations and the environments that the
// command names are found to be right: a mistake leaves no trace. The caller
// must close.
func (g *Globals) open(ctx context.Context, named ...string) (*session, error) {
	s := &session{Globals: g, log: slog.New(tint.NewTextHandler(g.Err, &tint.Options{Level: slog.LevelInfo, NoColor: true}))}
	var err error
	if s.clone, err = release.OpenClone(ctx, g.Dir, g.Environ); err != nil {
		return nil, err
	}
	if s.decl, err = environments.Read(os.DirFS(s.clone.Root)); err != nil {
		return nil, err
	}
	if s.state, err = stateDir(g.Getenv); err != nil {
		return nil, err
	}
	if s.apart, err = readApart(s.state); err != nil {
		return nil, err
	}
	over := overlay(s.clone.Root)
	if s.apart != nil && s.apart.Base != "" {
		dir, err := os.MkdirTemp("", "gate-base-")
		if err != nil {
			return nil, fmt.Errorf("base: %w", err)
		}
		defer os.RemoveAll(dir)
		if s.base, err = loadBase(ctx, s.clone, s.apart.Base, dir); err != nil {
			return nil, err
		}
		over = s.base.Policies
		// Whoever opens it next gets the same commit, wherever a branch has moved.
		s.apart.Base = s.base.Commit
		if err := s.apart.write(s.state); err != nil {
			return nil, err
		}
	}
	p, err := policies.New(ctx, over)
	if err != nil {
		return nil, err
	}
	for _, e := range s.decl.Environments {
		if _, err := p.Thresholds(e); err != nil {
			return nil, err
		}
	}
	for _, name := range named {
		if name == "" {
			continue // one that may be left out was
		}
		if _, err := s.environment(name); err != nil {
			return nil, err
		}
	}
	if within(s.clone.Root, s.state) {
		return nil, &Exit{promotion.CodeUsage, fmt.Errorf("state directory %s is inside of the clone %s, where it would become part of the release: set GATE_STATE to a folder outside of it", s.state, s.clone.Root)}
	}
	if s.cache, err = cacheDir(g.Getenv); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.state, 0o711); err != nil {
		return nil, stateError(s.state, err)
	}
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	s.ledger, err = ledger.Open(ctx, ledger.Options{
		Dir: s.state, App: s.decl.App.Name, Signer: key, Trust: s.trust(), Now: time.Now, Env: g.Environ,
		Remote: s.trust().Remote, Apart: s.apart != nil, EnvFiles: s.carriedFiles(),
	})
	if err != nil {
		return nil, err
	}
	s.journal = &promotion.Journal{Ledger: s.ledger, Now: time.Now}
	if s.apart == nil {
		s.reserve = durable.NewReserve(s.state)
		s.journal.Reserve = s.reserve
		_ = s.reserve.Fill() // what goes forward asks again, and says it
	}
	measures, err := checks.For(s.measuredBy().App)
	if err != nil {
		return nil, &Exit{promotion.CodeUsage, err}
	}
	s.judge = &promotion.Judge{Policies: p, Checks: measures, Trusted: s.ledger.TrustedFor, Now: time.Now, Machines: s.machines(), Branch: s.branch(), Waivers: s.decl.Waivers}
	if s.base != nil {
		s.judge.Waivers = s.base.Declarations.Waivers
		s.judge.Base = s.base.Declarations
	}
	s.store, err = release.OpenStore(filepath.Join(s.state, "releases"))
	return s, err
}

// trust is what counts: the base's, where there is one.
func (s *session) trust() *environments.Trust {
	if s.base != nil {
		return s.base.Declarations.Trust
	}
	return s.decl.Trust
}

// measuredBy are the declarations that name the repository's own checks: the
// base's, where there is one.
func (s *session) measuredBy() *environments.Declarations {
	if s.base != nil {
		return s.base.Declarations
	}
	return s.decl
}

// machines are the classes whose figures count. What is measured apart is
// judged where it was measured as well.
func (s *session) machines() []string {
	all := s.trust().Machines
	if s.apart != nil && len(all) > 0 && !slices.Contains(all, checks.Machine()) {
		all = append(slices.Clone(all), checks.Machine())
	}
	return all
}

// carriedFiles are what the branches env/* must hold beside requests, for GitHub
// to start the workflow that follows them.
func (s *session) carriedFiles() map[string][]byte {
	b, err := os.ReadFile(filepath.Join(s.clone.Root, filepath.FromSlash(workflows.Carried)))
	if err != nil || s.trust().Remote == "" {
		return nil
	}
	return map[string][]byte{workflows.Carried: b}
}

// signingKey names the variable with the private key (PEM) of machines that
// keep no state.
const signingKey = "GATE_SIGNING_KEY"

// appKey names the variable with the private key (PEM) of gate's GitHub App.
const appKey = "GATE_APP_KEY"

// key is the machine's own, made with its first use.
func (s *session) key() (*ledger.Key, error) {
	if text := s.Getenv(signingKey); text != "" && s.apart == nil {
		return ledger.ParseKey([]byte(text), signingKey)
	}
	key, created, err := ledger.LoadOrCreateKey(filepath.Join(s.state, "keys", "ed25519"))
	if created && s.apart == nil {
		fmt.Fprintf(s.Err, "gate: made this machine's signing key %s in %s\n", key.ID(), filepath.Join(s.state, "keys"))
	}
	return key, err
}

// branch says whether a commit is on the protected branch, nil where none is
// declared, or where the ledger is this machine's alone and so is what it
// promotes.
func (s *session) branch() func(context.Context, string) *policies.Branch {
	if t := s.trust(); t.Protected != "" && t.Remote != "" && s.apart == nil {
		return s.onBranch(t.Protected)
	}
	return nil
}

// onBranch looks at the branch as the clone's origin has it, not at what
// somebody has committed to it here.
func (s *session) onBranch(name string) func(context.Context, string) *policies.Branch {
	return func(ctx context.Context, commit string) *policies.Branch {
		b := &policies.Branch{Name: name, Contains: "unknown"}
		for _, ref := range []string{"refs/remotes/origin/" + name, "refs/heads/" + name} {
			on, err := s.clone.Contains(ctx, ref, commit)
			switch {
			case errors.Is(err, release.ErrNoCommit):
				continue
			case err != nil:
				return b
			case on:
				b.Contains = "yes"
			default:
				b.Contains = "no"
			}
			return b
		}
		return b
	}
}

// stateError says that nothing can be written to the state directory.
func stateError(dir string, err error) error {
	next := "make it writable or set GATE_STATE to another folder"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		next = "free some space there and try again"
	}
	return fmt.Errorf("state directory %s: %w; %s", dir, bare(err), next)
}

// within says whether the path is the folder or in it. What does not exist yet is
// judged by the part of it that does.
func within(folder, path string) bool {
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			path = filepath.Join(real, rest)
			break
		}
		if at == filepath.Dir(at) {
			break
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
	if real, err := filepath.EvalSymlinks(folder); err == nil {
		folder = real
	}
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

func (s *session) close() {
	if s != nil && s.ledger != nil {
		s.ledger.Close()
	}
}

// environment is the declaration of the environment, or an error with exit
// code 2 that names those that there are.
func (s *session) environment(name string) (*environments.Environment, error) {
	if e := s.decl.Environment(name); e != nil {
		return e, nil
	}
	var names []string
	for _, e := range s.decl.Environments {
		names = append(names, e.Name)
	}
	return nil, &Exit{promotion.CodeUsage, fmt.Errorf("environment %q is not declared; there are %v", name, names)}
}

func (s *session) paths(environment string) local.Paths {
	return local.Paths{State: s.state, Environment: environment}
}

func (s *session) executor(environment string) run.Executor {
	return &executor{session: s, environment: environment, client: s.client(environment)}
}

func (s *session) client(environment string) *local.Client {
	return local.NewClient(s.paths(environment))
}

// pipeline is everything that a run works with; done removes its work folder.
// It fails where nothing can be recorded, before anything is measured in vain.
func (s *session) pipeline(tell func(run.Event)) (p *run.Pipeline, done func(), err error) {
	if err := s.reserve.Fill(); durable.IsFull(err) {
		return nil, nil, err
	}
	if err := writable(s.state); err != nil {
		return nil, nil, stateError(s.state, err)
	}
	work, err := os.MkdirTemp("", "gate-run-")
	if err != nil {
		return nil, nil, fmt.Errorf("work folder: %w", err)
	}
	return &run.Pipeline{
		Clone: s.clone, Store: s.store, Journal: s.journal, Judge: s.judge, Executor: s.executor,
		Work: work, Tools: filepath.Join(s.cache, "tools"), By: s.by(), Environ: s.Environ, Now: time.Now, Tell: tell,
	}, func() { os.RemoveAll(work) }, nil
}

// by names who asks, for people: it proves nothing.
func (s *session) by() string {
	if actor := s.Getenv("GITHUB_ACTOR"); actor != "" && s.Getenv("GITHUB_ACTIONS") == "true" {
		return actor + " by a workflow"
	}
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// stateDir is where gate keeps ledger, releases and environments.
func stateDir(getenv func(string) string) (string, error) {
	if d := getenv("GATE_STATE"); d != "" {
		return filepath.Abs(d)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/gate", nil
	}
	if d := getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "gate"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", &Exit{promotion.CodeUsage, errors.New("neither GATE_STATE nor HOME is set: set GATE_STATE to a folder for gate's state")}
	}
	return filepath.Join(home, ".local", "state", "gate"), nil
}

// cacheDir is where gate keeps what it can fetch again.
func cacheDir(getenv func(string) string) (string, error) {
	if d := getenv("GATE_CACHE"); d != "" {
		return filepath.Abs(d)
	}
	if os.Geteuid() == 0 {
		return "/var/cache/gate", nil
	}
	if d := getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "gate"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", &Exit{promotion.CodeUsage, errors.New("neither GATE_CACHE nor HOME is set: set GATE_CACHE to a folder for tools")}
	}
	return filepath.Join(home, ".cache", "gate"), nil
}
