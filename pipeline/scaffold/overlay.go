package scaffold

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/policies"
)

// overlayDir is the folder of a repository whose files lie over gate's own
// policies, or beside them.
const overlayDir = "policies"

// example is what init writes into overlayDir: it changes no decision.
//
//go:embed overlay
var example embed.FS

// Example is the overlay that init writes, by paths below policies/.
func Example() fs.FS {
	sub, err := fs.Sub(example, "overlay")
	if err != nil {
		return example // never: the name is a valid one
	}
	return sub
}

// parts are what gate reads of the folder.
var parts = []string{"lib", "readiness", "schema", "thresholds.yaml", "criteria.yaml"}

// policies adds the overlay, unless the folder holds something already.
func (p *Proposal) policies(root fs.FS, force bool) error {
	there, _ := fs.ReadDir(root, overlayDir) // what can't be read is not there, and is found out when it is written
	for _, d := range there {
		// What else is in the folder is for other judges.
		if slices.Contains(parts, d.Name()) && !force {
			p.Files = append(p.Files, File{Path: overlayDir + "/" + d.Name(), Action: Keep})
			return nil
		}
	}
	return fs.WalkDir(Example(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(Example(), name)
		if err == nil {
			p.add(root, overlayDir+"/"+name, text, force)
		}
		return err
	})
}

// ignored is what gate leaves in a clone only where it is told to.
const ignored = "/gate-evidence/"

// ignore adds to .gitignore what it does not name yet.
func (p *Proposal) ignore(root fs.FS) error {
	const name = ".gitignore"
	text, err := fs.ReadFile(root, name)
	f := File{Path: name, Action: Extend}
	switch {
	case err != nil:
		if _, serr := fs.Stat(root, name); serr == nil {
			return err
		}
		f.Action = Write
	case strings.Contains("\n"+string(text)+"\n", "\n"+ignored+"\n"):
		return nil
	case len(text) > 0 && text[len(text)-1] != '\n':
		text = append(text, '\n')
	}
	f.Text = append(text, "# what gate measures apart\n"+ignored+"\n"...)
	p.Files = append(p.Files, f)
	return nil
}

// Policy proposes gate's own policy file, "readiness/readiness.rego", as a file
// of the overlay, to be changed. Errors: ErrPolicy.
func Policy(root fs.FS, name string, force bool) (*Proposal, error) {
	name = strings.TrimPrefix(name, overlayDir+"/")
	text, err := fs.ReadFile(policies.Embedded, name)
	if err != nil {
		var all []string
		_ = fs.WalkDir(policies.Embedded, ".", func(file string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasSuffix(file, "_test.rego") {
				all = append(all, file)
			}
			return err
		})
		return nil, fmt.Errorf("%w: %q: take one of %s", ErrPolicy, name, strings.Join(all, ", "))
	}
	p := &Proposal{Choices: []string{}}
	p.add(root, overlayDir+"/"+name, text, force)
	return p, nil
}
