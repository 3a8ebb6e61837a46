package checks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// testsEvent is one line of go test -json (go doc test2json), and of go build
// -json, which it contains.
type testsEvent struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// testsPlace is how the testing package and the compiler name a place.
var testsPlace = regexp.MustCompile(`(?m)^\s*((?:[\w.-]+/)*[\w.-]+\.go):(\d+)(?::\d+)?: (.*)$`)

// testsParseGo counts what go test reported.
func testsParseGo(source string, stdout, stderr []byte, p *TestsPayload) {
	output := map[string]*strings.Builder{}
	var failed, broken []string
	sc := bufio.NewScanner(bytes.NewReader(stdout))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e testsEvent
		if json.Unmarshal(sc.Bytes(), &e) != nil || e.Action == "" {
			continue
		}
		if e.Package == "" {
			e.Package, _, _ = strings.Cut(e.ImportPath, " ")
		}
		key := e.Package + "\x00" + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = new(strings.Builder)
			}
			output[key].WriteString(e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				if e.Action == "fail" {
					broken = append(broken, key)
				}
				continue
			}
			switch e.Action {
			case "pass":
				p.Passed++
			case "skip":
				p.Skipped++
			default:
				p.Failed++
				failed = append(failed, key)
			}
		}
	}
	withFailure := map[string]bool{}
	for _, key := range failed {
		pkg, test, _ := strings.Cut(key, "\x00")
		withFailure[pkg] = true
		p.Findings = append(p.Findings, testsFinding(source, pkg, test, output[key]))
	}
	for _, key := range broken {
		pkg, _, _ := strings.Cut(key, "\x00")
		if withFailure[pkg] {
			continue
		}
		// A package that does not build, or dies outside of a test, has failed as
		// a whole.
		p.Failed++
		p.Findings = append(p.Findings, testsFinding(source, pkg, "", output[key]))
	}
	if len(failed)+len(broken) == 0 && p.Passed+p.Skipped == 0 && len(bytes.TrimSpace(stderr)) > 0 {
		var b strings.Builder
		b.Write(stderr)
		p.Findings = append(p.Findings, testsFinding(source, "", "", &b))
	}
}

// testsFinding says where a test failed: the first place that its output names.
func testsFinding(source, pkg, test string, output *strings.Builder) Finding {
	f := Finding{Tool: "go test", Rule: "test", Severity: "high", Message: strings.TrimSpace(pkg + " " + test)}
	if output == nil {
		return f
	}
	m := testsPlace.FindStringSubmatch(output.String())
	if m == nil {
		if line := toolsLastLine([]byte(output.String())); line != "" {
			f.Message += ": " + line
		}
		return f
	}
	f.File = m[1]
	f.Line, _ = strconv.Atoi(m[2])
	f.Message += ": " + strings.TrimSpace(m[3])
	if !strings.Contains(f.File, "/") {
		f.File = testsFile(source, pkg, f.File)
	}
	return f
}

// testsFile finds the file of a package, which go test names without its
// folder. The longest folder that ends the import path is the package's.
func testsFile(source, pkg, name string) string {
	parts := strings.Split(strings.TrimSuffix(pkg, "_test"), "/")
	for i := range parts {
		candidate := filepath.Join(append(append([]string{source}, parts[i:]...), name)...)
		if toolsExists(candidate) {
			return filepath.ToSlash(filepath.Join(append(append([]string{}, parts[i:]...), name)...))
		}
	}
	return name
}
