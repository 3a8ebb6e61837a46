package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/smartcloudops/gate/checks"
)

// LSN is a place in what a cluster has written.
type LSN uint64

// ParseLSN reads "0/3000028".
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is no place in the WAL; write it as 0/3000028", s)
	}
	return LSN(h<<32 | l), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) } // #nosec G115 -- halves

// MarshalText writes "0/3000028".
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads "0/3000028".
func (l *LSN) UnmarshalText(b []byte) (err error) {
	*l, err = ParseLSN(string(b))
	return err
}

// segment is the number of the segment that holds l.
func (g *generation) segment(l LSN) uint64 { return uint64(l) / uint64(g.SegmentBytes) } // #nosec G115 -- positive

func (g *generation) segmentName(timeline uint32, n uint64) string {
	per := uint64(1<<32) / uint64(g.SegmentBytes) // #nosec G115 -- positive
	return fmt.Sprintf("%08X%08X%08X", timeline, n/per, n%per)
}

func (g *generation) parseSegment(name string) (timeline uint32, n uint64, ok bool) {
	if len(name) != 24 {
		return 0, 0, false
	}
	t, err1 := strconv.ParseUint(name[:8], 16, 32)
	h, err2 := strconv.ParseUint(name[8:16], 16, 32)
	l, err3 := strconv.ParseUint(name[16:], 16, 32)
	if err1 != nil || err2 != nil || err3 != nil {
		return 0, 0, false
	}
	per := uint64(1<<32) / uint64(g.SegmentBytes) // #nosec G115 -- positive
	return uint32(t), h*per + l, true
}

// segments are the numbers of the complete segments in the folder wal, in
// order, of one timeline.
func (g *generation) segments(wal string, timeline uint32) ([]uint64, error) {
	entries, err := os.ReadDir(wal)
	if err != nil {
		return nil, fmt.Errorf("look into the archive: %w", err)
	}
	var out []uint64
	for _, e := range entries {
		if t, n, ok := g.parseSegment(e.Name()); ok && t == timeline {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// chain checks that the archive has all that a recovery from b to the place
// until needs; until 0: to the end of what is there.
func (g *generation) chain(wal string, b *base, until LSN) error {
	have, err := g.segments(wal, b.Timeline)
	if err != nil {
		return err
	}
	first := g.segment(b.Start)
	last := g.segment(b.End)
	if until > 0 {
		last = max(last, g.segment(until))
	} else if len(have) > 0 {
		last = max(last, have[len(have)-1])
	}
	for n := first; n <= last; n++ {
		name := g.segmentName(b.Timeline, n)
		fi, err := os.Lstat(filepath.Join(wal, name))
		if errors.Is(err, fs.ErrNotExist) {
			// Only the newest may be incomplete.
			fi, err = os.Lstat(filepath.Join(wal, name+".partial"))
			if err == nil && len(have) > 0 && have[len(have)-1] > n {
				err = fs.ErrNotExist
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &checks.BackupFault{Kind: checks.FaultMissing, What: fmt.Sprintf("segment %s is missing in the archive", name)}
		}
		if err != nil {
			return fmt.Errorf("look into the archive: %w", err)
		}
		if fi.Size() != g.SegmentBytes {
			return &checks.BackupFault{Kind: checks.FaultTruncated, What: fmt.Sprintf("segment %s has %d of %d bytes", name, fi.Size(), g.SegmentBytes)}
		}
	}
	return nil
}
