package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
)

// GithubInitCmd writes what a repository carries for GitHub. It is one of the
// few verbs that write into the clone, and asks GitHub nothing.
type GithubInitCmd struct {
	Owners           []string `placeholder:"@ORG/TEAM" help:"Who must approve changes of the judge; several with commas."`
	Protected        string   `placeholder:"BRANCH" help:"The protected branch, GitHub's default one (default: that of trust.yaml, else main)."`
	Version          string   `placeholder:"vX.Y.Z" help:"The gate that workflows install (default: this one's)."`
	Repository       string   `placeholder:"OWNER/NAME" help:"The repository on GitHub (default: that of the remote origin)."`
	Runner           string   `placeholder:"LABEL" help:"Where the workflows run (default: ubuntu-24.04)."`
	Engine           string   `placeholder:"dagger|none" help:"What measures: containers, or the runner itself (default: dagger)."`
	EnterpriseServer bool     `help:"Leave out what GitHub Enterprise Server does not know yet."`
	Check            bool     `help:"Write nothing; end with 3 when the files are not what would be written."`
	Force            bool     `help:"Write over files that somebody has changed, too."`
}

// written is what the verb says of one file.
type written struct {
	File  string          `json:"file"`
	State workflows.State `json:"state"` // before
	Wrote bool            `json:"wrote"`
}

// Run writes what is missing or older, and nothing at all when a file that
// somebody has changed is in the way.
func (c *GithubInitCmd) Run(ctx context.Context, g *Globals) error {
	clone, err := release.OpenClone(ctx, g.Dir, g.Environ)
	if err != nil {
		return err
	}
	files, err := c.files(ctx, g, clone.Root)
	if err != nil {
		return err
	}
	states, err := workflows.Compare(os.DirFS(clone.Root), files)
	if err != nil {
		return err
	}
	all := make([]written, len(files))
	var drift, theirs []string
	for i, f := range files {
		all[i] = written{File: f.Path, State: states[i]}
		if states[i] != workflows.Same {
			drift = append(drift, f.Path)
		}
		// The settings are what the flags said: they are no file of ours to guard.
		if states[i] == workflows.Changed && f.Path != workflows.SettingsFile {
			theirs = append(theirs, f.Path)
		}
	}
	switch {
	case c.Check && len(drift) > 0:
		err = &Exit{promotion.CodeFail, fmt.Errorf("%s: not what gate github init writes: run it, and commit what it wrote", strings.Join(drift, ", "))}
	case c.Check:
	case len(theirs) > 0 && !c.Force:
		err = &Exit{promotion.CodeUsage, fmt.Errorf("%s: somebody has changed it, so nothing was written: take the changes out, or write over them with --force", strings.Join(theirs, ", "))}
	default:
		err = write(clone.Root, files, all)
	}
	if g.Output == "json" {
		return errors.Join(report.JSON(g.Out, all), err)
	}
	for _, w := range all {
		word := string(w.State)
		if w.Wrote {
			word = "written (was " + word + ")"
		}
		fmt.Fprintf(g.Out, "%-38s %s\n", w.File, word)
	}
	if err == nil && slices.ContainsFunc(all, func(w written) bool { return w.Wrote }) {
		fmt.Fprintln(g.Out, "\nnext: commit them to the protected branch, then gate doctor --github says what the settings lack (docs/github.md)")
	}
	return err
}

// files are all that the verb writes, the settings first.
func (c *GithubInitCmd) files(ctx context.Context, g *Globals, root string) ([]workflows.File, error) {
	p, settings, err := githubParams(ctx, g, root, c.override)
	if err != nil {
		return nil, err
	}
	files, err := workflows.Render(p)
	if err != nil {
		return nil, &Exit{promotion.CodeUsage, err}
	}
	return slices.Insert(files, 0, settings), nil
}

func (c *GithubInitCmd) override(p *workflows.Params) {
	for _, f := range []struct {
		to   *string
		flag string
	}{
		{&p.Protected, c.Protected}, {&p.Gate, c.Version}, {&p.Repository, c.Repository}, {&p.Runner, c.Runner}, {&p.Engine, c.Engine},
	} {
		if f.flag != "" {
			*f.to = f.flag
		}
	}
	if len(c.Owners) > 0 {
		p.Owners = c.Owners
	}
	p.EnterpriseServer = p.EnterpriseServer || c.EnterpriseServer
}

// githubParams are the parameters of the repository's files for GitHub: the
// settings file's, what override says, and what can be found out. settings is
// the file that goes with them: as it is, unless they changed.
func githubParams(ctx context.Context, g *Globals, root string, override func(*workflows.Params)) (p workflows.Params, settings workflows.File, err error) {
	usage := func(err error) (workflows.Params, workflows.File, error) {
		return workflows.Params{}, workflows.File{}, &Exit{promotion.CodeUsage, err}
	}
	d, err := environments.Read(os.DirFS(root))
	if err != nil {
		return p, settings, err
	}
	had, err := fs.ReadFile(os.DirFS(root), workflows.SettingsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, settings, err
	}
	if had != nil {
		if p, err = workflows.ReadSettings(had); err != nil {
			return usage(err)
		}
	}
	before, err := p.Settings()
	if err != nil {
		return usage(err)
	}
	override(&p)
	if p.Protected == "" && d.Trust != nil {
		p.Protected = d.Trust.Protected
	}
	if p.Repository == "" {
		p.Repository = origin(ctx, root, g.Environ)
	}
	if p.Gate == "" {
		p.Gate = gateVersion(root)
	}
	for _, e := range d.Environments {
		p.Environments = append(p.Environments, e.Name)
	}
	after, err := p.Settings()
	if err != nil {
		return usage(err)
	}
	if had != nil && string(before) == string(after) {
		after = had
	}
	if p = p.WithDefaults(); d.Trust != nil && d.Trust.Protected != "" && d.Trust.Protected != p.Protected {
		return usage(fmt.Errorf("the protected branch is %q in %s, but %q in environments/trust.yaml: make them one", p.Protected, workflows.SettingsFile, d.Trust.Protected))
	}
	return p, workflows.File{Path: workflows.SettingsFile, Data: after}, nil
}

// origin is owner/name of the clone's remote origin, if it has one.
func origin(ctx context.Context, root string, environ []string) string {
	cmd := exec.CommandContext(ctx, "git", "-C", root, "config", "--get", "remote.origin.url")
	cmd.Env = environ
	out, err := cmd.Output()
	if err != nil {
		return "" // Render asks for --repository
	}
	return workflows.RepositoryOf(strings.TrimSpace(string(out)))
}

// gateVersion is which gate the workflows get unless somebody says: in gate's own
// repository the one of the checkout, elsewhere the one that runs here.
func gateVersion(root string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if f, err := os.Open(path.Join(root, "go.mod")); err == nil {
		defer f.Close()
		if s := bufio.NewScanner(f); s.Scan() && s.Text() == "module "+info.Main.Path {
			return workflows.Checkout
		}
	}
	return info.Main.Version
}

// write writes the files that are not there as they should be, each whole or
// not at all, and never out of the folder.
func write(root string, files []workflows.File, all []written) error {
	top, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("write into the clone: %w", err)
	}
	defer top.Close()
	for i, f := range files {
		if all[i].State == workflows.Same {
			continue
		}
		if err := top.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		part := f.Path + ".part"
		err := top.WriteFile(part, f.Data, 0o644)
		if err == nil {
			err = top.Rename(part, f.Path)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", f.Path, err), ignoreMissing(top.Remove(part)))
		}
		all[i].Wrote = true
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
