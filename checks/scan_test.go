package checks

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A module with a known vulnerability, small and long since fixed.
const (
	textMod = "module example.org/scanned\n\ngo 1.26\n\nrequire golang.org/x/text v0.3.5\n"
	textSum = `golang.org/x/text v0.3.5 h1:i6eZZ+zk0SOf0xgBpEpPD18qWcJda6q1sxt3S0kzyUQ=
golang.org/x/text v0.3.5/go.mod h1:5Zoc/QRtKVWzQhOtBMvqHzDpF6irO9z98xDceosuGiQ=
golang.org/x/tools v0.0.0-20180917221912-90fa682c2a6e/go.mod h1:n7NCudcB/nEzxVGmLbDWY5pfWTLqBcC2KZ6jyYvM4mQ=
`
	cleanMain = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"clean\") }\n"
)

// database writes a folder of entries as they are kept in Git: without a time
// of modification.
func database(t *testing.T, published time.Time) string {
	t.Helper()
	dir := t.TempDir()
	entry := `{"schema_version": "1.3.1", "id": "GO-2021-0113", "modified": "0001-01-01T00:00:00Z", "published": "` + published.Format(time.RFC3339) + `",
		"summary": "Out-of-bounds read", "affected": [{"package": {"name": "golang.org/x/text", "ecosystem": "Go"},
		"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "0.3.7"}]}],
		"ecosystem_specific": {"imports": [{"path": "golang.org/x/text/language", "symbols": ["MatchStrings", "MustParse", "Parse", "ParseAcceptLanguage"]}]}}]}`
	old := `{"schema_version": "1.3.1", "id": "GO-2020-0001", "modified": "0001-01-01T00:00:00Z", "published": "2020-01-01T00:00:00Z",
		"affected": [{"package": {"name": "example.org/none", "ecosystem": "Go"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]}]}`
	for name, text := range map[string]string{"GO-2021-0113": entry, "GO-2020-0001": old} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var published = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func useDatabase(t *testing.T) {
	t.Helper()
	t.Setenv("GOVULNDB", "file://"+database(t, published))
}

func TestScanFindsReachableVulnerabilitiesAndUnsafeCode(t *testing.T) {
	needsTools(t)
	useDatabase(t)
	source := sourceOf(t, map[string]string{
		"go.mod": textMod, "go.sum": textSum,
		"main.go": `package main

import (
	"fmt"
	"os"

	"example.org/scanned/lang"
	"example.org/scanned/vendoring"
)

func main() {
	fmt.Println(lang.Of(os.Args[1]), vendoring.Small(len(os.Args)), vendoring.Excused(len(os.Args)), vendoring.Bare(len(os.Args)))
}
`,
		"lang/lang.go": `package lang

import "golang.org/x/text/language"

func Of(s string) string {
	tags, _, _ := language.ParseAcceptLanguage(s)
	return tags[0].String()
}
`,
		"lang/lang_test.go": "package lang\n\nfunc small(n int) int32 { return int32(n) }\n",
		"vendoring/v.go": `package vendoring

func Small(n int) int32 { return int32(n) }

func Excused(n int) int32 {
	return int32(n) // #nosec G115 -- counted by hand
}

func Bare(n int) int32 {
	return int32(n) // #nosec
}
`,
		"tool/main.go": "package main\n\nfunc main() { println(int32(len(\"not in the release\") * 3)) }\n\nfunc f(n int) int32 { return int32(n) }\n",
	})
	p := completed[ScanPayload](t, Scan(), sourceInput(t, source))
	if p.ReachableVulns != 1 || p.ImportedVulns != 0 || p.High != 2 || p.Low != 2 || p.Files != 3 || p.Modules != 3 {
		t.Errorf("%+v", p)
	}
	if !p.DatabaseDate.Equal(published) {
		t.Errorf("database of %s, want %s", p.DatabaseDate, published)
	}
	f := found(t, p.Findings, "GO-2021-0113")
	if f.Severity != "high" || at(f) != "lang/lang.go:6" || f.Fix != "go get golang.org/x/text@v0.3.7" ||
		!strings.Contains(f.Message, "Out-of-bounds read") || !strings.Contains(f.Message, "language.ParseAcceptLanguage is called") {
		t.Errorf("%+v", f)
	}
	places := map[string]string{}
	for _, f := range p.Findings {
		if f.Tool == "gosec" {
			places[at(f)+" "+f.Rule] = f.Severity
		}
		if strings.Contains(f.Message, "suppressed") && !strings.Contains(f.Message, "counted by hand") {
			t.Errorf("the reason is missing: %+v", f)
		}
	}
	want := map[string]string{"vendoring/v.go:3 G115": "high", "vendoring/v.go:6 G115": "low", "vendoring/v.go:10 G115": "high", "vendoring/v.go:10 nosec": "low"}
	for k, v := range want {
		if places[k] != v {
			t.Errorf("%s is %q, want %q", k, places[k], v)
		}
	}
	if len(places) != len(want) {
		t.Errorf("places %v, want %v", places, want)
	}
}

func TestScanOfAVulnerableModuleThatIsOnlyImported(t *testing.T) {
	needsTools(t)
	useDatabase(t)
	source := sourceOf(t, map[string]string{
		"go.mod": textMod, "go.sum": textSum,
		"main.go": "package main\n\nimport \"golang.org/x/text/language\"\n\nfunc main() { println(language.English.IsRoot()) }\n",
	})
	p := completed[ScanPayload](t, Scan(), sourceInput(t, source))
	if p.ReachableVulns != 0 || p.ImportedVulns != 1 {
		t.Errorf("%+v", p)
	}
	if f := found(t, p.Findings, "GO-2021-0113"); f.Severity != "low" {
		t.Errorf("%+v", f)
	}
}

func TestScanOfCleanCode(t *testing.T) {
	needsTools(t)
	useDatabase(t)
	source := sourceOf(t, map[string]string{
		"go.mod":  "module example.org/clean\n\ngo 1.26\n\nrequire example.org/beside v0.0.0\n\nreplace example.org/beside => ./beside\n",
		"main.go": "package main\n\nimport \"example.org/beside\"\n\nfunc main() { beside.Say() }\n",
		// A module of the commit's own beside the main one is scanned, too.
		"beside/go.mod":    "module example.org/beside\n\ngo 1.26\n",
		"beside/beside.go": "package beside\n\nfunc Say() { println(\"clean\") }\n",
	})
	in := sourceInput(t, source)
	m, err := Scan().Measure(t.Context(), in)
	if err != nil || m.Status != Completed {
		t.Fatalf("%+v, %v", m, err)
	}
	p := m.Payload.(ScanPayload)
	if p.Files != 2 || p.Modules == 0 || p.High+p.Medium+p.Low+p.ReachableVulns+p.ImportedVulns+len(p.Findings) != 0 {
		t.Errorf("%+v", p)
	}
	if m.Tools["gosec"] == "" || m.Tools["govulncheck"] == "" || m.Tools["vulnerability database"] != "2026-03-04T05:06:07Z" {
		t.Errorf("tools: %v", m.Tools)
	}
}

func TestScanOfCodeThatDoesNotBuildIsAnError(t *testing.T) {
	needsTools(t)
	useDatabase(t)
	for name, text := range map[string]string{
		"type":   "package main\n\nvar x int = \"\"\n\nfunc main() {}\n",
		"import": "package main\n\nimport \"example.net/none\"\n\nfunc main() { none.X() }\n",
		"empty":  "",
	} {
		m, err := Scan().Measure(t.Context(), sourceInput(t, sourceOf(t, map[string]string{"go.mod": testsMod, "main.go": text})))
		if err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// Tools that end as if all were well, without having done their work.
func TestScanBelievesNoToolThatDidNothing(t *testing.T) {
	useDatabase(t)
	in := sourceInput(t, sourceOf(t, map[string]string{"go.mod": testsMod, "main.go": cleanMain}))
	version := runtime.Version()
	const gosec = `{"Golang errors":{},"Issues":[],"Stats":{"files":1}}`
	vuln := `{"config":{"scan_level":"symbol","go_version":"` + version + `"}} {"SBOM":{"modules":[{"path":"m"}],"roots":["m"]}}`
	for name, c := range map[string]struct {
		gosec, vuln string
		sound       bool
	}{
		"sound":                         {gosec, vuln, true},
		"gosec silent":                  {"", vuln, false},
		"gosec read nothing":            {strings.Replace(gosec, `"files":1`, `"files":0`, 1), vuln, false},
		"gosec could not read":          {strings.Replace(gosec, `{}`, `{"":[{"line":0,"error":"broken"}]}`, 1), vuln, false},
		"govulncheck silent":            {gosec, "", false},
		"govulncheck cut short":         {gosec, vuln[:len(vuln)-9], false},
		"govulncheck without modules":   {gosec, strings.Replace(vuln, `{"path":"m"}`, "", 1), false},
		"govulncheck of a package":      {gosec, strings.Replace(vuln, "symbol", "package", 1), false},
		"govulncheck with another Go":   {gosec, strings.Replace(vuln, version, "go1.0.99", 1), false},
		"govulncheck without its roots": {gosec, strings.Replace(vuln, `["m"]`, "[]", 1), false},
	} {
		in.Tools = sourceOf(t, map[string]string{
			"gosec@" + toolsGosec.version + "+" + version + "/gosec":                   "#!/bin/sh\necho '" + c.gosec + "'\n",
			"govulncheck@" + toolsGovulncheck.version + "+" + version + "/govulncheck": "#!/bin/sh\necho '" + c.vuln + "'\n",
		})
		m, err := Scan().Measure(t.Context(), in)
		if sound := err == nil && m.Status == Completed; sound != c.sound {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestScanWithoutADatabaseIsUnavailable(t *testing.T) {
	needsTools(t)
	in := sourceInput(t, sourceOf(t, map[string]string{"go.mod": testsMod, "main.go": cleanMain}))
	broken := database(t, published)
	if err := os.WriteFile(filepath.Join(broken, "GO-2020-0001.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, db := range []string{"file://" + t.TempDir(), "file:///none/such", "file://" + broken, "http://127.0.0.1:1", "ftp://x", t.TempDir()} {
		t.Setenv("GOVULNDB", db)
		unavailable(t, Scan(), in, "GOVULNDB", "file:///folder")
	}
	// One that answers at first, and fails then.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer s.Close()
	t.Setenv("GOVULNDB", s.URL)
	unavailable(t, Scan(), in, "GOVULNDB", "502")
}

func TestScanWithoutWhatItNeedsIsUnavailable(t *testing.T) {
	useDatabase(t)
	unavailable(t, Scan(), sourceInput(t, ""), "source")
	in := sourceInput(t, sourceOf(t, map[string]string{"go.mod": textMod, "go.sum": textSum, "main.go": "package main\n\nimport _ \"golang.org/x/text/language\"\n\nfunc main() {}\n"}))
	in.Tools = ""
	unavailable(t, Scan(), in, "folder")
	in.Declarations.App.Build.Toolchain = "go1.0.99"
	unavailable(t, Scan(), in, "go1.0.99")
	in.Declarations.App.Build.Toolchain = runtime.Version()
	t.Setenv("GOPROXY", "http://127.0.0.1:1")
	t.Setenv("GOMODCACHE", t.TempDir())
	unavailable(t, Scan(), in, "module", "proxy")
}

func TestScanStandsUntilTheDatabaseChanges(t *testing.T) {
	evidence := func(date, finished time.Time) Evidence {
		b, err := json.Marshal(ScanPayload{DatabaseDate: date})
		if err != nil {
			t.Fatal(err)
		}
		return Evidence{Finished: finished, Payload: b}
	}
	now := time.Now()
	t.Setenv("GOVULNDB", "file://"+database(t, published)+"/")
	for name, c := range map[string]struct {
		e    Evidence
		want bool
	}{
		"the same database":  {evidence(published, now.AddDate(0, -1, 0)), true},
		"an older one now":   {evidence(published.Add(time.Hour), now), true},
		"a newer one now":    {evidence(published.Add(-time.Second), now), false},
		"of unknown date":    {evidence(time.Time{}, now), false},
		"without a payload":  {Evidence{Finished: now}, false},
		"unreadable payload": {Evidence{Finished: now, Payload: []byte(`{"database_date": 1}`)}, false},
	} {
		if got := Scan().Current(Input{}, c.e); got != c.want {
			t.Errorf("%s: current is %v", name, got)
		}
	}
	for _, db := range []string{"file://" + t.TempDir(), "file:///none/such"} {
		t.Setenv("GOVULNDB", db)
		if Scan().Current(Input{}, evidence(published, now)) {
			t.Errorf("evidence is current by %s", db)
		}
	}
	t.Setenv("GOVULNDB", "")
	if !Scan().Current(Input{}, evidence(time.Time{}, now.Add(-23*time.Hour))) || Scan().Current(Input{}, evidence(published, now.Add(-25*time.Hour))) {
		t.Error("evidence from the live database does not stand for a day")
	}
}

func TestScanDatabaseDateOfAnIndex(t *testing.T) {
	dir := sourceOf(t, map[string]string{"index/db.json": `{"modified":"2026-07-01T02:00:00+02:00"}`, "ID/GO-1.json": "{}"})
	if d, err := scanDatabaseDate(dir); err != nil || !d.Equal(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s, %v", d, err)
	}
	dir = sourceOf(t, map[string]string{"index/db.json": `{}`, "GO-1.json": `{"published":"2026-07-01T02:00:00Z"}`})
	if d, err := scanDatabaseDate(dir); err == nil {
		t.Errorf("an index without a date gives %s", d)
	}
}

func TestVulnReadTakesMessagesInAnyOrder(t *testing.T) {
	v, err := vulnRead([]byte(`{"finding":{"osv":"GO-1","trace":[{"module":"stdlib","version":"v1.2.3","package":"net/http","function":"Do","receiver":"Client"},{"module":"example.org/m","function":"main"}],"fixed_version":"v1.2.4"}}
{"finding":{"osv":"GO-1","trace":[{"module":"stdlib"}]}} {"osv":{"id":"GO-1","summary":"said later"}} {"config":{"scan_level":"symbol"}}`))
	if err != nil {
		t.Fatal(err)
	}
	reachable, imported := v.findings("/source")
	f := reachable["GO-1"]
	if len(reachable) != 1 || len(imported) != 0 || !strings.Contains(f.Message, "said later; net/http.Client.Do is called") || !strings.Contains(f.Fix, "Go 1.2.4") {
		t.Errorf("%+v %+v", reachable, imported)
	}
	for _, bad := range []string{`{"finding":{"osv":"GO-1"}}`, `{"config":`, `x`} {
		if v, err := vulnRead([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", bad, v)
		}
	}
}
