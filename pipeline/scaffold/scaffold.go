// Package scaffold proposes declarations for a repository that has none: it
// looks at the source, says of every value where it was found or that it was
// assumed, and leaves what it can't tell as a choice that validation names. It
// reads a file system and writes nothing.
package scaffold

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/policies"
)

// Errors that callers tell apart.
var (
	// ErrNoProgram: there is no Go program, or not the one that was named.
	ErrNoProgram = errors.New("no Go program")
	// ErrManyPrograms: there are several, and none was named.
	ErrManyPrograms = errors.New("more than one Go program")
	// ErrName: the name that was given is none that a service may have.
	ErrName = errors.New("no name for a service")
	// ErrPolicy: gate has no policy file of that name.
	ErrPolicy = errors.New("no such policy file")
)

// Options are what the repository does not say.
type Options struct {
	Name    string // of the service; empty: made of the package's or the module's path
	Package string // the main package, "./cmd/x"; empty: the only one
	Go      string // version of the Go on this machine, "go1.26.8"; empty: there is none
	Branch  string // that others build on, "main"; empty: nobody knows
	Owner   string // of the runbooks
	Review  string // day until which they are right, "2027-01-31"
	Force   bool   // replace what is there
}

// Actions of a File.
const (
	Write   = "write"   // it is not there yet
	Replace = "replace" // it is there and was asked to be replaced
	Extend  = "extend"  // lines are added to what is there
	Keep    = "keep"    // it is there
)

// File is one file of a proposal.
type File struct {
	Path   string `json:"path"` // relative to the repository, with slashes
	Action string `json:"action"`
	Text   []byte `json:"-"` // all of it; empty with Keep
}

// Proposal is what would be written, and what is left to do by hand.
type Proposal struct {
	Package string   `json:"package"` // empty where declarations are kept
	Files   []File   `json:"files"`   // sorted by path
	Assumed int      `json:"assumed"` // places that say "assumed"
	Choices []string `json:"choices"` // what validation will say until it is mended, one line each
}

// Changes says whether anything would be written.
func (p *Proposal) Changes() bool {
	return slices.ContainsFunc(p.Files, func(f File) bool { return f.Action != Keep })
}

// Propose looks at root, a repository's top folder. Where environments/ or
// policies/ hold something already, they are kept as they are, unless
// o.Force. Errors: ErrNoProgram, ErrManyPrograms, ErrName.
func Propose(ctx context.Context, root fs.FS, o Options) (*Proposal, error) {
	p := &Proposal{Choices: []string{}}
	declared, err := fs.Glob(root, environments.Dir+"/*.yaml")
	if err != nil {
		return nil, err
	}
	own := map[string][]byte{}
	if len(declared) == 0 || o.Force {
		if own, err = declare(root, o, p); err != nil {
			return nil, err
		}
	}
	for _, name := range declared {
		if _, ours := own[name]; !ours {
			p.Files = append(p.Files, File{Path: name, Action: Keep})
		}
	}
	for name, text := range own {
		p.add(root, name, text, o.Force)
	}
	if err := p.policies(root, o.Force); err != nil {
		return nil, err
	}
	if err := p.ignore(root); err != nil {
		return nil, err
	}
	slices.SortFunc(p.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return p, p.check(ctx, root)
}

// declare makes the files of environments/.
func declare(root fs.FS, o Options, p *Proposal) (map[string][]byte, error) {
	t, err := look(root)
	if err != nil {
		return nil, err
	}
	main, err := t.program(o.Package)
	if err != nil {
		return nil, err
	}
	f := t.find(main, o)
	if o.Name != "" && !serviceName.MatchString(o.Name) {
		return nil, fmt.Errorf("%q is %w: use a lower-case letter, then up to 30 letters, digits or hyphens", o.Name, ErrName)
	}
	p.Package = f.pkg
	files := map[string][]byte{
		environments.Dir + "/app.yaml":        f.app(),
		environments.Dir + "/staging.yaml":    f.environment("staging"),
		environments.Dir + "/production.yaml": f.environment("production"),
		environments.Dir + "/trust.yaml":      f.trust(o.Branch),
	}
	for name, text := range runbooks(o.Owner, o.Review) {
		files[name] = text
	}
	for _, text := range files {
		p.Assumed += strings.Count(string(text), "assumed:")
	}
	return files, nil
}

var serviceName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// program is the main package that was named, or the only one.
func (t *tree) program(named string) (*folder, error) {
	all := t.mains()
	var names []string
	for _, f := range all {
		names = append(names, relative(f.dir))
	}
	if named != "" {
		i := slices.Index(names, relative(path.Clean(strings.TrimPrefix(named, "./"))))
		if i < 0 {
			if len(all) == 0 {
				return nil, t.none()
			}
			return nil, fmt.Errorf("%s is %w of this repository: --package takes one of %s", named, ErrNoProgram, strings.Join(names, ", "))
		}
		return all[i], nil
	}
	switch len(all) {
	case 0:
		return nil, t.none()
	case 1:
		return all[0], nil
	}
	return nil, fmt.Errorf("%w is here: choose the one that is shipped with --package, one of %s", ErrManyPrograms, strings.Join(names, ", "))
}

func (t *tree) none() error {
	switch {
	case len(t.broken) > 0:
		return fmt.Errorf("%w can be read: %s: mend it first", ErrNoProgram, t.broken[0])
	case len(t.modules) == 0:
		return fmt.Errorf("%w is here: there is no go.mod; gate builds Go: run it in the repository of a Go service, or with -C DIR", ErrNoProgram)
	}
	return fmt.Errorf("%w is here: no package main with a func main is built for Linux; write one, or run gate in the repository of the service", ErrNoProgram)
}

func relative(dir string) string {
	if dir == "." {
		return "."
	}
	return "./" + dir
}

// add takes the file into the proposal, unless it is there and may not be
// replaced.
func (p *Proposal) add(root fs.FS, name string, text []byte, force bool) {
	f := File{Path: name, Action: Write, Text: text}
	if _, err := fs.Stat(root, name); err == nil {
		f.Action = Replace
		if !force {
			f.Action, f.Text = Keep, nil
		}
	}
	p.Files = append(p.Files, f)
}

// check says what validation would, were everything written.
func (p *Proposal) check(ctx context.Context, root fs.FS) error {
	after, err := p.after(root)
	if err != nil {
		return fmt.Errorf("look at the repository: %w", err)
	}
	d, err := environments.Read(after)
	var problems environments.Problems
	if errors.As(err, &problems) {
		for _, one := range problems {
			p.Choices = append(p.Choices, one.Error())
		}
	} else if err != nil {
		return err
	}
	overlay, err := fs.Sub(after, overlayDir)
	if err != nil {
		return err
	}
	judge, err := policies.New(ctx, overlay)
	switch {
	case errors.Is(err, policies.ErrPolicy):
		p.Choices = append(p.Choices, fmt.Sprintf("%s/: %s; gate reads what is below %s there: mend it, or move it to another folder", overlayDir, strings.Join(strings.Fields(err.Error()), " "), strings.Join(parts, ", ")))
		return nil
	case err != nil || d == nil:
		return err
	}
	for _, e := range d.Environments {
		if _, err := judge.Thresholds(e); err != nil {
			p.Choices = append(p.Choices, err.Error())
		}
	}
	return nil
}
