package run

import (
	"context"
	"crypto/sha1" // #nosec G505 -- Git's
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// pending compares the migrations of the commit with those of the release that
// it replaces; problem says why that can't be known.
func (s *state) pending(ctx context.Context, in checks.Input) (p *checks.PendingMigrations, problem string) {
	m := s.decl.App.Migrate
	if m == nil {
		return nil, ""
	}
	if len(m.Files) == 0 {
		return nil, "environments/app.yaml does not say where the migrations are: list their files, migrate.files"
	}
	files, had := m.Files, map[string]string{}
	if in.Previous != in.Release {
		v, err := s.Journal.View(ctx)
		if err != nil {
			return nil, err.Error()
		}
		was := recordOf(v, in.Previous)
		if was == nil {
			return nil, fmt.Sprintf("the ledger has no record of release %.19s, which is replaced", in.Previous)
		}
		if x := was.Declarations.App.Migrate; x != nil {
			files = slices.Concat(files, x.Files)
		}
		if had, err = s.Clone.Files(ctx, was.Commit, files); err != nil {
			return nil, fmt.Sprintf("migrations of commit %.12s, which is replaced: %s", was.Commit, err)
		}
	}
	have, err := exportedFiles(s.exported.Dir, files, had)
	if err != nil {
		return nil, fmt.Sprintf("migrations of the commit: %s", err)
	}
	out := checks.ComparePending(have, had)
	return &out, ""
}

// exportedFiles are the files of an export that match, with the ids that Git
// gives their content, as like has them. What is not committed counts, too.
func exportedFiles(dir string, patterns []string, like map[string]string) (map[string]string, error) {
	long := false
	for _, id := range like {
		long = len(id) == 2*sha256.Size
	}
	found := map[string]string{}
	root := os.DirFS(dir)
	for _, p := range patterns {
		names, err := doublestar.Glob(root, p, doublestar.WithFilesOnly())
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		for _, name := range names {
			b, err := fs.ReadFile(root, name)
			if err != nil {
				return nil, err
			}
			h := sha1.New() // #nosec G401 -- Git's name for it
			if long {
				h = sha256.New()
			}
			fmt.Fprintf(h, "blob %d\x00", len(b))
			h.Write(b)
			found[name] = hex.EncodeToString(h.Sum(nil))
		}
	}
	return found, nil
}

// recordOf is the newest record of a release.
func recordOf(v *promotion.View, release string) *promotion.ReleaseRecord {
	var newest *promotion.ReleaseRecord
	for _, digest := range v.Find(release) {
		if r := v.Releases[digest]; r != nil && r.Release == release && newest == nil {
			newest = r
		}
	}
	return newest
}

// targetBytes is how big the database is where a release goes from the
// environment; 0 where that is not known.
func (s *state) targetBytes(ctx context.Context, e *environments.Environment) int64 {
	for _, next := range s.decl.Environments {
		if next.Promotion.From != e.Name {
			continue
		}
		st, err := s.Executor(next.Name).Status(ctx)
		if err != nil {
			return 0 // it does not run, or elsewhere
		}
		return st.DatabaseBytes
	}
	return 0
}
