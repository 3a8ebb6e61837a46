package scaffold

import (
	"bufio"
	"bytes"
	"fmt"
	"go/version"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// exact is what environments accepts as a toolchain.
var exact = regexp.MustCompile(`^go1\.[0-9]+\.[0-9]+$`)

// pinned are files in which people name the Go that they build with.
var pinned = []struct {
	file string
	line *regexp.Regexp
}{
	{".go-version", regexp.MustCompile(`^(?:go)?(1\.[0-9]+\.[0-9]+)\s*$`)},
	{".tool-versions", regexp.MustCompile(`^go(?:lang)?\s+(1\.[0-9]+\.[0-9]+)\b`)},
	{"Dockerfile", regexp.MustCompile(`(?i)^FROM\s+(?:\S+/)?golang:(1\.[0-9]+\.[0-9]+)\b`)},
}

// toolchain is an exact version and why; here is the Go of this machine. The
// version is empty where none can be told.
func (t *tree) toolchain(m *module, here string) (v, why string) {
	mod := path.Join(m.dir, "go.mod")
	least, at := "", ""
	if g := m.file.Go; g != nil {
		least, at = "go"+g.Version, fmt.Sprintf("%s:%d", mod, g.Syntax.Start.Line)
	}
	fits := func(v string) bool {
		return exact.MatchString(v) && (least == "" || version.Compare(v, least) >= 0)
	}
	if c := m.file.Toolchain; c != nil && fits(c.Name) {
		return c.Name, fmt.Sprintf("found: %s:%d", mod, c.Syntax.Start.Line)
	}
	for _, p := range pinned {
		text, err := fs.ReadFile(t.root, p.file)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; lines.Scan(); n++ {
			if f := p.line.FindStringSubmatch(strings.TrimSpace(lines.Text())); f != nil && fits("go"+f[1]) {
				return "go" + f[1], fmt.Sprintf("found: %s:%d", p.file, n)
			}
		}
	}
	wants := "go.mod names no Go"
	if least != "" {
		wants = fmt.Sprintf("%s asks for %s or newer", at, strings.TrimPrefix(least, "go"))
	}
	if fits(here) {
		return here, fmt.Sprintf("assumed: the Go of this machine; %s", wants)
	}
	if exact.MatchString(least) {
		return least, fmt.Sprintf("assumed: the least that %s allows; a newer one may have fewer vulnerabilities", at)
	}
	return "", wants
}
