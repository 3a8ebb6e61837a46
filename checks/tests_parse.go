package checks

import (
	"bytes"
	"encoding/json"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// testsEvent is one line of go test -json (go doc test2json), and of go build
// -json, which it contains.
type testsEvent struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	FailedBuild string
}

// testsName is a test of a package; without a test, the package as a whole.
type testsName struct{ pkg, test string }

func (n testsName) String() string { return strings.TrimSpace(n.pkg + " " + n.test) }

// testsGo is what go test reported.
type testsGo struct {
	passed, skipped int
	failed          []testsName
	broken          []testsName          // packages that failed as a whole
	builds          map[testsName]string // what did not build, of broken
	began           []testsName          // packages and tests, in order
	ended           map[testsName]bool
	output          map[testsName]*strings.Builder
	built           map[string]*strings.Builder
	building        string // all that was said before any test ran
}

func testsReadGo(stdout, stderr []byte) *testsGo {
	r := &testsGo{
		builds: map[testsName]string{}, ended: map[testsName]bool{},
		output: map[testsName]*strings.Builder{}, built: map[string]*strings.Builder{}, building: string(stderr),
	}
	for line := range bytes.Lines(stdout) {
		var e testsEvent
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		name := testsName{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			testsAppend(r.built, e.ImportPath, e.Output)
			r.building += e.Output
		case "output":
			testsAppend(r.output, name, e.Output)
		case "start", "run":
			r.began = append(r.began, name)
		case "pass", "fail", "skip":
			r.ended[name] = true
			switch {
			case e.Test == "" && e.Action == "fail":
				r.broken = append(r.broken, name)
				r.builds[name] = e.FailedBuild
			case e.Test == "":
			case e.Action == "pass":
				r.passed++
			case e.Action == "skip":
				r.skipped++
			default:
				r.failed = append(r.failed, name)
			}
		}
	}
	return r
}

func testsAppend[K comparable](m map[K]*strings.Builder, k K, s string) {
	if m[k] == nil {
		m[k] = new(strings.Builder)
	}
	m[k].WriteString(s)
}

// unfinished are the innermost tests that began and have no result.
func (r *testsGo) unfinished() []string {
	var names []string
	for _, n := range r.began {
		inner := func(o testsName) bool {
			return !r.ended[o] && o.pkg == n.pkg && strings.HasPrefix(o.test, n.test+"/")
		}
		if n.test != "" && !r.ended[n] && !slices.ContainsFunc(r.began, inner) {
			names = append(names, n.String())
		}
	}
	return names
}

// report counts into p. When the run was stopped from outside, that a package
// has no result is no failure of its own.
func (r *testsGo) report(source string, stopped bool, p *TestsPayload) {
	p.Passed, p.Skipped, p.Failed = r.passed, r.skipped, len(r.failed)
	hasFailure := map[string]bool{}
	for _, n := range r.failed {
		hasFailure[n.pkg] = true
		f := testsFinding(source, n, testsText(r.output[n]), true)
		inner := func(o testsName) bool { return o.pkg == n.pkg && strings.HasPrefix(o.test, n.test+"/") }
		if f.File == "" && slices.ContainsFunc(r.failed, inner) {
			continue // it failed because a subtest did, which says where
		}
		p.Findings = append(p.Findings, f)
	}
	for _, n := range r.broken {
		if hasFailure[n.pkg] {
			continue
		}
		// A package that does not build, or dies outside of a test, has failed as
		// a whole.
		p.Failed++
		text, inTest := testsText(r.output[n]), true
		if b := r.built[r.builds[n]]; b != nil {
			text, inTest = b.String(), false
		}
		p.Findings = append(p.Findings, testsFinding(source, n, text, inTest))
	}
	for _, n := range r.began {
		// A process that ends itself with status 0 passes for go test, though
		// what stood behind has not run.
		if n.test == "" && !r.ended[n] && !stopped {
			p.Failed++
			p.Findings = append(p.Findings, Finding{
				Tool: "go test", Rule: "test", Severity: "high", Message: n.String() + ": ended before its tests did", Fix: "let no test end the process",
			})
		}
	}
}

func testsText(b *strings.Builder) string {
	if b == nil {
		return ""
	}
	return b.String()
}

// How the testing package and the compiler name a place, and how a stack does.
var (
	testsPlace = regexp.MustCompile(`(?m)^\s*((?:[\w.-]+/)*[\w.-]+\.go):(\d+)(?::\d+)?: (.*)$`)
	testsFrame = regexp.MustCompile(`(?m)^\t(/.*\.go):(\d+)(?: \+0x[0-9a-f]+)?$`)
	testsPanic = regexp.MustCompile(`(?m)^(?:panic|fatal error): .*$`)
)

// testsFinding says where a test failed: a panic where it came from; a test at
// the last place that it names, since what it logs on its way looks the same; a
// build at the first.
func testsFinding(source string, n testsName, output string, inTest bool) Finding {
	f := Finding{Tool: "go test", Rule: "test", Severity: "high", Message: n.String()}
	say := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			f.Message += ": " + toolsLastLine([]byte(s))
		}
	}
	if p := testsPanic.FindString(output); p != "" {
		say(p)
		for _, m := range testsFrame.FindAllStringSubmatch(output, -1) {
			if rel := scanRelative(source, m[1]); !filepath.IsAbs(rel) {
				f.File, f.Line = rel, testsNumber(m[2])
				break
			}
		}
		return f
	}
	places := testsPlace.FindAllStringSubmatch(output, -1)
	if len(places) == 0 {
		say(toolsLastLine([]byte(output)))
		return f
	}
	m := places[0]
	if inTest {
		m = places[len(places)-1]
	}
	say(m[3])
	f.File, f.Line = path.Clean(m[1]), testsNumber(m[2])
	if inTest && !strings.Contains(f.File, "/") {
		f.File = testsFile(source, n.pkg, f.File)
	}
	return f
}

func testsNumber(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// testsLineAt is the line of s that holds the byte at i.
func testsLineAt(s string, i int) string {
	begin := strings.LastIndexByte(s[:i], '\n') + 1
	line, _, _ := strings.Cut(s[begin:], "\n")
	return toolsLastLine([]byte(line))
}

// testsFile finds the file of a package, which go test names without its
// folder. The longest folder that ends the import path is the package's.
func testsFile(source, pkg, name string) string {
	parts := strings.Split(pkg, "/")
	for i := range parts {
		rel := path.Join(path.Join(parts[i:]...), name)
		if toolsExists(filepath.Join(source, filepath.FromSlash(rel))) {
			return rel
		}
	}
	return name
}
