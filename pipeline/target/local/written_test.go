package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestErrorLinesAreCountedOnce, also where a log is moved, cut in mid-line and
// removed between two looks.
func TestErrorLinesAreCountedOnce(t *testing.T) {
	dir := t.TempDir()
	var counts logCounts
	var list []string
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(list, path) {
			list = append(list, path)
			slices.Sort(list) // 3-1.1.log before 3-1.log
		}
	}
	look := func(lines, errors int64) {
		t.Helper()
		c, err := counts.of("3", func() ([]string, error) { return slices.Clone(list), nil })
		if err != nil || c.lines != lines || c.errors != errors {
			t.Errorf("%d lines, %d errors, %v; want %d and %d", c.lines, c.errors, err, lines, errors)
		}
	}
	look(0, 0)
	bad, good := `{"level":"ERROR","msg":"x"}`+"\n", `{"level":"info","msg":"level error"}`+"\n"
	put("3-1.log", good+bad+"plain error\n"+bad[:10])
	look(2, 1)
	put("3-1.log", good+bad+"plain error\n"+bad+good)
	look(4, 2)
	look(4, 2)
	// It got too big: what is in both files now was read, but for the last line.
	put("3-1.1.log", good+bad+"plain error\n"+bad+good+bad[:5])
	put("3-1.log", bad[5:]+bad)
	look(6, 4)
	put("3-1.2.log", bad[5:]+bad+good[:7])
	put("3-1.log", good[7:])
	list = slices.Delete(list, 0, 1) // the oldest is not kept
	look(7, 4)
	for level, want := range map[string]int64{"error": 1, "ERR": 1, "fatal": 1, "panic": 1, "ERROR+4": 1, "warn": 0, "debug": 0} {
		var c logCount
		c.count([]byte(fmt.Sprintf("{\"level\":%q}\n", level)))
		if c.lines != 1 || c.errors != want {
			t.Errorf("%s: %+v", level, c)
		}
	}
	var c logCount
	c.ended = map[string]int64{}
	put("3-1.log", strings.Repeat(good, writtenAtOnce/len(good)+100))
	list = list[len(list)-1:]
	for range 2 {
		if err := c.read(func() ([]string, error) { return list, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if want := int64(writtenAtOnce/len(good) + 100); c.lines != want {
		t.Errorf("of much %d lines were read, not %d", c.lines, want)
	}
}
