package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// workTree makes a tree object of what git add -A would hold. The index and
// the new objects are in temp; the returned git reads them beside the clone's.
func (c *Clone) workTree(ctx context.Context, temp string) (git, string, error) {
	fail := func(err error) (git, string, error) {
		return git{}, "", fmt.Errorf("uncommitted changes of %s: %w", c.Root, err)
	}
	index, objects := filepath.Join(temp, "index"), filepath.Join(temp, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		return fail(err)
	}
	// Git touches an object that it would write and that is there already, be it
	// in an alternate. So what writes does not see the clone's objects.
	writes := c.git.with("GIT_INDEX_FILE="+index, "GIT_OBJECT_DIRECTORY="+objects)
	reads := writes.with(`GIT_ALTERNATE_OBJECT_DIRECTORIES="` + quoteGit.Replace(c.objects) + `"`) // quoted: a colon would part it in two

	// The copy knows which files have not changed, so only the others are read.
	b, err := os.ReadFile(c.index)
	switch {
	case err == nil:
		if err := os.WriteFile(index, b, 0o600); err != nil {
			return fail(err)
		}
	case errors.Is(err, fs.ErrNotExist):
		if _, err := reads.output(ctx, "read-tree", "HEAD"); err != nil {
			return fail(err)
		}
	default:
		return fail(err)
	}
	if err := copyChanged(ctx, reads, writes); err != nil {
		return fail(err)
	}
	if _, err := writes.output(ctx, "add", "--all"); err != nil {
		return fail(err)
	}
	tree, err := writes.line(ctx, "write-tree", "--missing-ok")
	if err != nil {
		return fail(err)
	}
	return reads, tree, nil
}

// copyChanged copies what the index has of files that have changed: git add
// looks at it to see whether a file was committed with CRLF line ends.
func copyChanged(ctx context.Context, from, to git) error {
	b, err := from.output(ctx, "diff-files", "--raw", "-z", "--no-abbrev", "--no-renames")
	if err != nil {
		return err
	}
	var ids bytes.Buffer
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		fields := strings.Fields(string(entry))
		if len(fields) == 5 && fields[0] != ":"+modeSubmodule && objectID.MatchString(fields[2]) && strings.Trim(fields[2], "0") != "" {
			ids.WriteString(fields[2] + "\n")
		}
	}
	if ids.Len() == 0 {
		return nil
	}
	pack, err := from.feed(ctx, &ids, "pack-objects", "--stdout", "-q")
	if err != nil {
		return err
	}
	_, err = to.feed(ctx, bytes.NewReader(pack), "unpack-objects", "-q")
	return err
}

// quoteGit escapes what stands between quotes in one of Git's lists of paths.
var quoteGit = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
