package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// buildFlags: no paths of this machine, no VCS stamps. The symbol table and
// DWARF are left out because they make a third of the file and only debuggers
// read them; stack traces and profiles work without. The build id is left out
// because it hashes inputs that do not reach the code, so that it could tell
// apart two binaries that are the same.
var buildFlags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}

// Reasons of a BuildError.
const (
	ReasonCompile = "compile" // the code, its modules or its declarations are wrong
	ReasonModules = "modules" // a module could not be fetched or does not match go.sum
)

// BuildError: the commit does not build.
type BuildError struct {
	Package  string
	Reason   string
	Findings []checks.Finding // at least one
}

func (e *BuildError) Error() string {
	first := e.Findings[0]
	place := first.File
	if first.Line > 0 {
		place = fmt.Sprintf("%s:%d", first.File, first.Line)
	}
	if place != "" {
		place += ": "
	}
	text, _, _ := strings.Cut(first.Message, "\n")
	more := ""
	if n := len(e.Findings) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return fmt.Sprintf("%s does not build: %s%s%s", e.Package, place, text, more)
}

// compile builds b.Package of the export into out, with settings that make the
// bytes a function of the export and the toolchain alone.
func compile(ctx context.Context, e *Exported, b environments.Build, o Options, out string) error {
	pkg := path.Clean(strings.TrimPrefix(b.Package, "./"))
	if b.Package == "" || path.IsAbs(b.Package) || pkg == ".." || strings.HasPrefix(pkg, "../") || strings.HasPrefix(pkg, "-") || strings.Contains(pkg, "...") {
		return fmt.Errorf("%w: build.package %q is not one package of the repository such as ./cmd/x", ErrApp, b.Package)
	}
	module := moduleOf(e, pkg)
	if module == "" {
		return fmt.Errorf("%w: no go.mod in %s or above it: commit one", ErrApp, b.Package)
	}
	vendored := e.has(path.Join(module, "vendor/modules.txt"))
	if err := localReplacements(e, b.Package, module, vendored); err != nil {
		return err
	}
	tool, err := newToolchain(ctx, b.Toolchain, o)
	if err != nil {
		return err
	}
	mod := "-mod=readonly"
	if vendored {
		mod = "-mod=vendor"
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	args := append([]string{"build", mod}, buildFlags...)
	args = append(args, "-o", out, "--", "./"+rel)

	var stdout, stderr bytes.Buffer
	cmd := command(ctx, tool.environ, filepath.Join(e.Dir, filepath.FromSlash(module)), tool.bin, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("build of %s: %w", b.Package, context.Cause(ctx))
		}
		return buildError(b.Package, module, stdout.String()+stderr.String(), err)
	}
	// A package that is not main compiles without error and leaves no program.
	if st, err := os.Stat(out); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: build.package %s is not a command: name a package main", ErrApp, b.Package)
	} else if err != nil {
		return fmt.Errorf("build of %s: %w", b.Package, err)
	} else if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return fmt.Errorf("%w: build.package %s is not a command: name a package main", ErrApp, b.Package)
	}
	return nil
}

// has says whether name was exported as a file.
func (e *Exported) has(name string) bool {
	for _, f := range e.Files {
		if f.Path == name {
			return f.Mode != modeLink
		}
	}
	return false
}

// moduleOf is the folder of the nearest go.mod at pkg or above it, "." for the
// top, "" for none: a repository may hold several modules.
func moduleOf(e *Exported, pkg string) string {
	for dir := pkg; ; dir = path.Dir(dir) {
		if e.has(path.Join(dir, "go.mod")) {
			return dir
		}
		if dir == "." {
			return ""
		}
	}
}

// localReplacements refuses a go.mod that takes code from a folder outside of
// the export: that code is in no commit.
func localReplacements(e *Exported, pkg, module string, vendored bool) error {
	name := path.Join(module, "go.mod")
	content, err := os.ReadFile(filepath.Join(e.Dir, filepath.FromSlash(name)))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	parsed, err := modfile.Parse(name, content, nil)
	if err != nil {
		failure := &BuildError{Package: pkg, Reason: ReasonCompile}
		var list modfile.ErrorList
		if !errors.As(err, &list) {
			list = modfile.ErrorList{{Filename: name, Err: err}}
		}
		for _, m := range list {
			failure.Findings = append(failure.Findings, finding(name, m.Pos.Line, m.Err.Error(), ""))
		}
		return failure
	}
	if vendored {
		return nil // replaced code is taken from vendor/ then
	}
	for _, r := range parsed.Replace {
		if r.New.Version != "" {
			continue
		}
		to := path.Join(module, r.New.Path)
		if path.IsAbs(r.New.Path) || to == ".." || strings.HasPrefix(to, "../") {
			return &BuildError{Package: pkg, Reason: ReasonCompile, Findings: []checks.Finding{
				finding(name, r.Syntax.Start.Line, fmt.Sprintf("%s is replaced by %s, which is outside of the repository", r.Old.Path, r.New.Path),
					"require a published version, or vendor the module"),
			}}
		}
	}
	return nil
}

func finding(file string, line int, message, fix string) checks.Finding {
	return checks.Finding{Tool: "go build", Rule: "build", Severity: "high", File: file, Line: line, Message: message, Fix: fix}
}
