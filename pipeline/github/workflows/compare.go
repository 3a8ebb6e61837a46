package workflows

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
)

// State is how a file in a repository compares with what Render makes.
type State string

// States.
const (
	Same    State = "as written"
	Missing State = "missing"
	Older   State = "of other settings or another gate" // nobody has changed it: it may be written anew
	Changed State = "changed by somebody"
)

// Compare says of each file how the repository's top folder has it, in their
// order.
func Compare(top fs.FS, files []File) ([]State, error) {
	var states []State
	for _, f := range files {
		have, err := fs.ReadFile(top, f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			states = append(states, Missing)
		case err != nil:
			return nil, fmt.Errorf("compare %s: %w", f.Path, err)
		case bytes.Equal(have, f.Data):
			states = append(states, Same)
		case Untouched(have):
			states = append(states, Older)
		default:
			states = append(states, Changed)
		}
	}
	return states, nil
}

// RepositoryOf is owner/name of a remote's address, "" of one that has none.
func RepositoryOf(remote string) string {
	path := ""
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		path = u.Path
	} else if host, rest, ok := strings.Cut(remote, ":"); ok && !strings.Contains(host, "/") {
		path = rest // git@host:owner/name
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if !repository.MatchString(path) {
		return ""
	}
	return path
}
