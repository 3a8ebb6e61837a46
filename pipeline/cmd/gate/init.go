package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/scaffold"
)

// InitCmd writes declarations for a repository that has none.
type InitCmd struct {
	Name    string `placeholder:"NAME" help:"Name of the service (default: made of the package's or the module's path)."`
	Package string `placeholder:"./cmd/x" help:"Main package that is shipped, relative to the repository (default: the only one)."`
	Check   bool   `help:"Say what would be written, and write nothing."`
	Force   bool   `help:"Replace declarations and policies that are there."`
	Policy  string `placeholder:"FILE" help:"Write nothing but a copy of gate's own policy FILE into policies/, to be changed."`
}

// Run looks at the work tree as it is, and writes into it. What it can't find
// out is left as a choice, which gate env validate names.
func (c *InitCmd) Run(ctx context.Context, g *Globals) error {
	clone, err := release.OpenClone(ctx, g.Dir, g.Environ)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(clone.Root) // nothing is written through a link that leads out
	if err != nil {
		return err
	}
	defer root.Close()
	var p *scaffold.Proposal
	if c.Policy != "" {
		p, err = scaffold.Policy(root.FS(), c.Policy, c.Force)
	} else {
		p, err = scaffold.Propose(ctx, root.FS(), scaffold.Options{
			Name: c.Name, Package: c.Package, Force: c.Force, Go: installedGo(ctx, g.Environ), Branch: mainBranch(ctx, clone.Root, g.Environ),
			Owner: committer(ctx, clone.Root, g.Environ), Review: time.Now().AddDate(0, 6, 0).Format(time.DateOnly),
		})
	}
	if isAny(err, scaffold.ErrNoProgram, scaffold.ErrManyPrograms, scaffold.ErrName, scaffold.ErrPolicy) {
		return &Exit{promotion.CodeUsage, err}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", clone.Root, err)
	}
	if name := ignored(ctx, clone.Root, g.Environ, p.Files); name != "" {
		return &Exit{promotion.CodeUsage, fmt.Errorf("%s is ignored by Git, and a release is built of what is committed: take it out of .gitignore (git check-ignore -v %s says where), then run gate init again", name, name)}
	}
	if !c.Check {
		if err := writeProposal(root, p.Files); err != nil {
			return fmt.Errorf("%s: %w", clone.Root, err)
		}
	}
	if g.Output == "json" {
		return report.JSON(g.Out, struct {
			*scaffold.Proposal
			Written bool `json:"written"`
		}{p, !c.Check && p.Changes()})
	}
	c.tell(g, clone.Root, p)
	return nil
}

// writeProposal writes all of it, or says what stopped it.
func writeProposal(root *os.Root, files []scaffold.File) error {
	for _, f := range files {
		if f.Action == scaffold.Keep {
			continue
		}
		if err := root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
			return fmt.Errorf("make the folder of %s: %w; mend it, then run gate init again", f.Path, bare(err))
		}
		if err := root.WriteFile(f.Path, f.Text, 0o644); err != nil {
			return fmt.Errorf("write %s: %w; mend it, then run gate init again", f.Path, bare(err))
		}
	}
	return nil
}

func (c *InitCmd) tell(g *Globals, root string, p *scaffold.Proposal) {
	word := map[string]string{scaffold.Write: "wrote", scaffold.Replace: "replaced", scaffold.Extend: "extended", scaffold.Keep: "kept"}
	if c.Check {
		word = map[string]string{scaffold.Write: "would write", scaffold.Replace: "would replace", scaffold.Extend: "would extend", scaffold.Keep: "would keep"}
	}
	of := root
	if p.Package != "" {
		of += ", package " + p.Package
	}
	fmt.Fprintln(g.Out, of)
	for _, f := range p.Files {
		fmt.Fprintf(g.Out, "  %-13s %s\n", word[f.Action], f.Path)
	}
	if !p.Changes() {
		fmt.Fprintln(g.Out, "nothing to write; --force replaces what is there")
	}
	if n := len(p.Choices); n > 0 {
		fmt.Fprintln(g.Out, "left to you, and named by gate env validate until it is done:")
		for _, s := range p.Choices {
			fmt.Fprintln(g.Out, " ", s)
		}
	}
	if c.Policy != "" || c.Check || !p.Changes() {
		return
	}
	fmt.Fprintln(g.Out, "next:")
	steps := []string{
		"gate env validate",
		"git add environments policies docs/runbooks .gitignore && git commit -m 'Declare the service for gate'",
		"gate run",
	}
	if p.Assumed > 0 {
		steps = append([]string{fmt.Sprintf("read environments/*.yaml: %d comments say what was assumed", p.Assumed)}, steps...)
	}
	for i, s := range steps {
		fmt.Fprintf(g.Out, "  %d. %s\n", i+1, s)
	}
}

// ignored is the first of the files that Git would not commit; empty: none.
func ignored(ctx context.Context, root string, environ []string, files []scaffold.File) string {
	var names []string
	for _, f := range files {
		if f.Action == scaffold.Write {
			names = append(names, f.Path)
		}
	}
	if len(names) == 0 {
		return ""
	}
	// Git says 1 where none is ignored; what else goes wrong shows at the commit.
	out, _ := inClone(ctx, root, environ, append([]string{"check-ignore", "--"}, names...)...)
	first, _, _ := strings.Cut(out, "\n")
	return first
}

// mainBranch is the one that others build on: that of the remote, or one with a
// usual name that is checked out; empty: nobody knows.
func mainBranch(ctx context.Context, root string, environ []string) string {
	if out, err := inClone(ctx, root, environ, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"); err == nil {
		return strings.TrimPrefix(out, "origin/")
	}
	out, err := inClone(ctx, root, environ, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil || !slices.Contains([]string{"main", "master", "trunk"}, out) {
		return ""
	}
	return out
}

// committer is who would commit here, or committed last; runbooks need an owner.
func committer(ctx context.Context, root string, environ []string) string {
	if out, err := inClone(ctx, root, environ, "config", "--get", "user.name"); err == nil && out != "" {
		return out
	}
	out, _ := inClone(ctx, root, environ, "log", "-1", "--format=%an")
	return out
}

// inClone runs Git, on the repository that the folder is in and on no other.
func inClone(ctx context.Context, root string, environ []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root, "-c", "core.fsmonitor=false"}, args...)...)
	for _, v := range environ {
		if !strings.HasPrefix(v, "GIT_") || strings.HasPrefix(v, "GIT_CONFIG") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.Output()
	return string(bytes.TrimSpace(out)), err
}

// installedGo is the version of the Go on this machine itself, whatever a
// go.mod asks for; empty: there is none.
func installedGo(ctx context.Context, environ []string) string {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = string(os.PathSeparator)
	cmd.Env = append(append([]string(nil), environ...), "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(out))
}
