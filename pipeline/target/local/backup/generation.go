package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

// generation is an archive without a gap, and the base backups that were made
// while it grew. Where something is missing, as after a slot was lost, another
// one begins. Its folder is gate's, what is in wal/ and base/ PostgreSQL's
// user's.
type generation struct {
	dir string

	SystemIdentifier string    `json:"system_identifier"`
	Major            int       `json:"major"`
	SegmentBytes     int64     `json:"segment_bytes"`
	Begun            time.Time `json:"begun"`
	Slot             bool      `json:"slot"` // it should exist
}

const (
	generationFile = "generation.json"
	halfMade       = ".half"
	stampFormat    = "20060102T150405.000"
)

func (g *generation) wal() string  { return filepath.Join(g.dir, "wal") }
func (g *generation) base() string { return filepath.Join(g.dir, "base") }

func (g *generation) write() error { return writeJSON(filepath.Join(g.dir, generationFile), g) }

// base is one base backup.
type base struct {
	gen *generation
	dir string

	Begun            time.Time `json:"begun"`
	Finished         time.Time `json:"finished"`
	SystemIdentifier string    `json:"system_identifier"`
	Version          string    `json:"version"`
	Timeline         uint32    `json:"timeline"`
	Start            LSN       `json:"start"` // recovery begins here
	End              LSN       `json:"end"`   // and is consistent from here on
	Bytes            int64     `json:"bytes"`
}

func (b *base) name() string { return filepath.Base(b.dir) }

// generations are those on the disk, oldest first.
func generations(dir string) ([]*generation, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", generationFile))
	if err != nil {
		return nil, fmt.Errorf("look for backups: %w", err)
	}
	var out []*generation
	for _, f := range files {
		g := &generation{dir: filepath.Dir(f)}
		if err := readJSON(f, g); err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *generation) int { return a.Begun.Compare(b.Begun) })
	return out, nil
}

// bases are all finished base backups, oldest first.
func (k *Keeper) bases() ([]*base, error) {
	gens, err := generations(k.opt.Dir)
	if err != nil {
		return nil, err
	}
	var out []*base
	for _, g := range gens {
		files, err := filepath.Glob(filepath.Join(g.dir, "base-*.json"))
		if err != nil {
			return nil, fmt.Errorf("look for backups: %w", err)
		}
		for _, f := range files {
			stamp := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "base-"), ".json")
			b := &base{gen: g, dir: filepath.Join(g.base(), stamp)}
			if err := readJSON(f, b); err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					continue // retired this moment
				}
				return nil, err
			}
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *base) int { return a.Begun.Compare(b.Begun) })
	return out, nil
}

func readJSON(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read what is known of a backup: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s is damaged: %w; move its folder away, and a new base backup is made", file, err)
	}
	return nil
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return durable.Replace(file, b, 0o600)
}
