package scaffold

import (
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// scenario writes the load scenario. A health path alone would be put under
// load in vain, so without any other the choice is left.
func (f *findings) scenario(p *page) {
	p.line(0, "load:")
	p.note(1, "assumed: the thresholds of gate ask for 50 users and 60 seconds at least")
	p.line(1, "users: 50")
	p.line(1, "think: 1s")
	p.line(1, "warmup: 10s")
	p.line(1, "closed: 60s")
	p.line(1, "open: 60s")
	p.line(1, "step: 5s")
	p.line(1, "knee: 40s")
	all := f.load[:min(maxLoad, len(f.load))]
	if len(all) == 0 {
		p.note(1, "choose: what users ask for, with the right answer; no path was found that can be asked for as it stands. One looks so:")
		p.off(1, "- name: list")
		p.off(1, "  method: GET")
		p.off(1, "  path: /api/things?limit=20")
		p.off(1, "  weight: 1")
		p.off(1, "  expect: {status: 200, body: '\"things\":'}")
		p.off(1, "  safe: true")
		f.others(p)
		p.line(1, "endpoints: []")
		p.gap()
		return
	}
	p.note(1, "assumed: each of these answers GET with 200 for anybody, and as often as it is asked. Say in expect.body what a right answer contains, and add what else users do; safe: true may be sent to production, too.")
	f.others(p)
	p.line(1, "endpoints:")
	var names []string
	for _, r := range all {
		n := endpointName(r.path)
		for base, i := n, 'b'; slices.Contains(names, n) && i <= 'z'; i++ {
			n = base + "-" + string(i)
		}
		names = append(names, n)
		p.note(2, "found: %s", r.at)
		p.line(2, "- name: %s", quote(n))
		p.line(2, "  method: GET")
		p.line(2, "  path: %s", quote(r.path))
		p.line(2, "  weight: 1")
		p.line(2, "  expect: {status: 200}")
		p.line(2, "  safe: true")
	}
	p.gap()
}

// others names the paths that are not put under load.
func (f *findings) others(p *page) {
	for _, r := range f.load[min(maxLoad, len(f.load)):] {
		p.note(1, "found, and not under load: GET %s, %s", r.path, r.at)
	}
	for i, r := range f.writes {
		if i == 8 {
			p.note(1, "and %d more that write", len(f.writes)-i)
			break
		}
		p.note(1, "found, and not under load, since its body is not known: %s %s, %s", r.method, r.path, r.at)
	}
}

func endpointName(path string) string {
	n := strings.Trim(notInName.ReplaceAllString(strings.ToLower(path), "-"), "-")
	if n == "" {
		return "root"
	}
	if n[0] < 'a' || n[0] > 'z' {
		n = "get-" + n
	}
	return strings.TrimRight(n[:min(len(n), 29)], "-")
}

var docsText = regexp.MustCompile(`\.md$|(^|/)docs(/|$)|(^|/)LICENSE`)

// readsDocs is a place in the source or the tests that names documents, or
// embeds whole folders; empty: there is none.
func (f *findings) readsDocs() string {
	place := ""
	for _, d := range f.folders {
		for _, file := range d.files {
			for _, g := range file.syntax.Comments {
				for _, c := range g.List {
					if rest, ok := strings.CutPrefix(c.Text, "//go:embed "); ok && place == "" {
						for _, w := range strings.Fields(rest) {
							if docsText.MatchString(w) || w == "*" || w == "." {
								place = f.at(c)
							}
						}
					}
				}
			}
			ast.Inspect(file.syntax, func(n ast.Node) bool {
				if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING && place == "" {
					if s, _ := literal(b); docsText.MatchString(s) && !strings.ContainsAny(s, " :") && !strings.HasPrefix(s, "/") {
						place = f.at(b)
					}
				}
				return place == ""
			})
		}
	}
	if place == "" {
		place = f.testsReadDocs()
	}
	return place
}

var docsQuoted = regexp.MustCompile("[\"`](?:[^\"`\\n ]*/)?(?:[^\"`\\n /]*\\.md|docs(?:/[^\"`\\n ]*)?|LICENSE)[\"`]")

func (f *findings) testsReadDocs() string {
	for _, at := range f.tests {
		name, _, _ := strings.Cut(at, ":")
		if text, err := fs.ReadFile(f.root, name); err == nil && docsQuoted.Match(text) {
			return path.Clean(name)
		}
	}
	return ""
}
