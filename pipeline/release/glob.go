package release

import (
	"fmt"
	"path"
	"strings"
)

// glob matches slash-separated paths from the top of the repository. In a
// folder's or file's name *, ? and […] mean what they mean in path.Match; a
// whole ** stands for any number of folders, and at the end for all below.
type glob []string

func parseGlob(pattern string) (glob, error) {
	g := glob(strings.Split(pattern, "/"))
	for _, part := range g {
		if part == "" || part == "." || part == ".." || strings.HasPrefix(part, "!") {
			return nil, fmt.Errorf("%q is not a glob from the top of the repository such as docs/** or **/*.md", pattern)
		}
		if _, err := path.Match(part, ""); err != nil || part != "**" && strings.Contains(part, "**") {
			return nil, fmt.Errorf("%q is not a glob: ** stands alone between slashes, and brackets are closed", pattern)
		}
	}
	return g, nil
}

// match goes through the pattern once and keeps every number of path parts
// that it may have used up so far; trying each ** in turn could take
// exponential time on a hostile pattern.
func (g glob) match(name string) bool {
	parts := strings.Split(name, "/")
	used := make([]bool, len(parts)+1)
	used[0] = true
	for i, p := range g {
		next := make([]bool, len(parts)+1)
		for n, ok := range used {
			switch {
			case !ok:
			case p == "**":
				least := n
				if i == len(g)-1 {
					least++ // docs/** is what lies below docs, not a file docs
				}
				for k := least; k <= len(parts); k++ {
					next[k] = true
				}
			case n < len(parts):
				if hit, err := path.Match(p, parts[n]); err == nil && hit {
					next[n+1] = true
				}
			}
		}
		used = next
	}
	return used[len(parts)]
}
