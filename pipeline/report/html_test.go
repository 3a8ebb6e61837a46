package report

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

func htmlOf(t testing.TB, r *run.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// element is what the page says at one place.
type element struct {
	name, text string
	attr       map[string]string
	path       string
}

// elements reads the page strictly: what is not well-formed is an error.
func elements(t testing.TB, page string) []element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	var out []element
	var open []int
	for {
		token, err := d.Token()
		if err == io.EOF {
			if len(open) > 0 {
				t.Errorf("%s is never closed", out[open[len(open)-1]].name)
			}
			return out
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			e := element{name: x.Name.Local, attr: map[string]string{}}
			for _, a := range x.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			for _, i := range open {
				e.path += out[i].name + " "
			}
			open = append(open, len(out))
			out = append(out, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, i := range open {
				out[i].text += string(x)
			}
		}
	}
}

func find(all []element, name string) (out []element) {
	for _, e := range all {
		if e.name == name {
			out = append(out, e)
		}
	}
	return out
}

func TestPagesAreWholeAndNeedNothing(t *testing.T) {
	for name, r := range map[string]*run.Result{
		"passed": passed(t), "warned": warned(t), "failed": failed(t), "inconclusive": inconclusive(t),
		"rolled back": rolledBack(t), "reused": reused(t), "unbuilt": unbuilt(t), "verified": verified(t), "empty": {},
	} {
		t.Run(name, func(t *testing.T) {
			page := htmlOf(t, r)
			if again := htmlOf(t, r); again != page {
				t.Error("the same run makes two pages")
			}
			ids, named := map[string]bool{}, map[string]bool{}
			for _, e := range elements(t, page) {
				switch e.name {
				case "script", "link", "img", "iframe", "object", "embed", "form", "image", "use", "base", "video", "audio":
					t.Errorf("the page has an element %s", e.name)
				case "table":
					if !strings.Contains(e.path, "div") {
						t.Error("a table can't be scrolled")
					}
				case "th":
					if e.attr["scope"] == "" {
						t.Errorf("the header %q has no scope", e.text)
					}
				}
				for k, v := range e.attr {
					if strings.HasPrefix(k, "on") || k == "src" || k == "srcset" || k == "style" {
						t.Errorf("%s has an attribute %s", e.name, k)
					}
					if k == "href" && !strings.HasPrefix(v, "https://127.0.0.1:") {
						t.Errorf("a link leads to %s", v)
					}
					if k == "id" {
						if ids[v] {
							t.Errorf("the id %s stands twice", v)
						}
						ids[v] = true
					}
					if k == "aria-labelledby" {
						for id := range strings.FieldsSeq(v) {
							named[id] = true
						}
					}
				}
				if e.name == "svg" && e.attr["role"] != "img" && e.attr["aria-hidden"] != "true" {
					t.Error("a drawing is neither named nor hidden")
				}
			}
			for id := range named {
				if !ids[id] {
					t.Errorf("something is named by %s, which is not on the page", id)
				}
			}
			if m := regexp.MustCompile(`(?i)url\(|@import|NaN|[+-]Inf|ZgotmplZ|<nil>|%!`).FindString(page); m != "" {
				t.Errorf("the page holds %q", m)
			}
			for _, want := range []string{`content="default-src 'none'; `, "prefers-color-scheme: dark", `<html lang="en">`} {
				if !strings.Contains(page, want) {
					t.Errorf("the page lacks %s", want)
				}
			}
		})
	}
}

func TestPageSaysHowItEnded(t *testing.T) {
	for _, c := range []struct {
		run   *run.Result
		word  string
		class string
	}{
		{passed(t), "PASS", "banner v-pass"},
		{warned(t), "WARN", "banner v-warn"},
		{failed(t), "FAIL", "banner v-fail"},
		{inconclusive(t), "INCONCLUSIVE", "banner v-inconclusive"},
		{rolledBack(t), "ROLLED BACK", "banner v-fail"}, // though what was decided before is a pass
		{unbuilt(t), "FAIL", "banner v-fail"},
		{verified(t), "DONE", "banner v-none"},
	} {
		all := elements(t, htmlOf(t, c.run))
		if h := find(all, "h1")[0]; !strings.HasPrefix(h.text, c.word+":") {
			t.Errorf("the page of %s begins with %s", c.word, h.text)
		}
		if !strings.Contains(find(all, "title")[0].text, c.word) {
			t.Errorf("the title lacks %s", c.word)
		}
		banner := ""
		for _, e := range find(all, "div") {
			if strings.HasPrefix(e.attr["class"], "banner") {
				banner = e.attr["class"]
			}
		}
		if banner != c.class {
			t.Errorf("%s is shown as %q, want %q", c.word, banner, c.class)
		}
	}
}

func TestPageShowsWhatWasJudgedAndMeasured(t *testing.T) {
	page := htmlOf(t, failed(t))
	all := elements(t, page)
	text := find(all, "body")[0].text
	for _, want := range []string{
		"p95 2.31 s (≤ 2.6)", "success must reach 99%", "gate verify staging --check load (about 100 s)", // why and next of what failed
		id("4d"), id("90"), id("17"), // evidence, policies, input
		"app/postgres/query_test.go:88", "TestQuery/newest_first", "got  [3 1 2]",
		"6000 requests by strict keep-alive clients", "s1: 1499, s2: 1500, s3: 1501, s4: 1500",
		"body: 1, status 503: 1", "99.80%", "gate 0.1.0, go go1.26.8",
		"deploy staging", "not begun", "not this release", "limit 2 s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "every limit is kept\nnext:") {
		t.Error("the page says what to do about a criterion that passed")
	}
	drawings := map[string]int{}
	for _, e := range find(all, "polyline") {
		drawings[e.attr["class"]]++
	}
	// Two timelines, the open one broken in two; both models; three endpoints each.
	if d := cmp.Diff(map[string]int{"s0": 3 + 1 + 2, "s1": 3 + 1 + 2, "s2": 2}, drawings); d != "" {
		t.Errorf("curves (-want +got):\n%s", d)
	}
	failures := 0
	for _, e := range find(all, "line") {
		if e.attr["class"] == "failed" && strings.Contains(e.text, "second 41: 2 of 50 failed") {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("%d marks for the second in which requests failed", failures)
	}
}

// hostile is what somebody may put wherever text is taken from outside.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>'` + "`" + `</title></style></svg></td>{{.}}` + "\x1b[2J\x1b]0;owned\x07\u202egnp\u0000"

// poison puts it wherever a run holds text from outside.
func poison(t testing.TB) *run.Result {
	r := failed(t)
	bad := []checks.Finding{{Tool: hostile, Rule: hostile, Severity: hostile, File: hostile, Line: 1, Message: hostile + "\n" + hostile, Fix: hostile}}
	r.App, r.Subject, r.Summary, r.Next, r.Through, r.Commit, r.Release, r.Findings = hostile, hostile, hostile, hostile, hostile, hostile, hostile, bad
	d := &r.Decisions[1].Decision
	d.ID, d.Environment, d.PolicyDigest, d.InputDigest, d.Stage, d.Verdict = hostile, hostile, hostile, hostile, hostile, hostile
	d.Criteria = []policies.Criterion{{ID: hostile, Title: hostile, Verdict: hostile, Got: hostile, Want: hostile, Evidence: []string{hostile}, Why: hostile, Next: hostile}}
	r.Promotions = []promotion.Transition{{Environment: hostile, Kind: hostile, State: hostile, Why: hostile, Release: hostile, By: hostile}}
	r.Environment = []run.Serving{{Name: hostile, URL: "javascript:alert(1)//" + hostile, Release: hostile, CA: hostile}}
	r.Steps = append(r.Steps, run.Step{Name: hostile, State: hostile, Took: 1, Note: hostile})
	x := loadPayload(t)
	x.Closed.Endpoints[0].Name = hostile
	x.Closed.Endpoints[0].Failures = map[string]int{hostile: 1}
	up := updatePayload()
	up.From, up.Failures, up.PerInstance = hostile, map[string]int{hostile: 1}, map[string]int{hostile: 1}
	up.Phases[0].From = hostile
	r.Evidence = []run.Measured{
		{Digest: hostile, Evidence: evidence("load", hostile, 1, payload(t, x))},
		{Digest: hostile, Evidence: evidence("update", hostile, 1, payload(t, up))},
		{Digest: hostile, Evidence: evidence("tests", hostile, 1, payload(t, checks.TestsPayload{Findings: bad}))},
		{Digest: hostile, Evidence: evidence(hostile, hostile, 1, []byte(`{"findings":7}`))},
	}
	for i := range r.Evidence {
		e := &r.Evidence[i].Evidence
		e.Status, e.Reason, e.Tools = hostile, hostile, map[string]string{hostile: hostile}
	}
	return r
}

func TestPageEscapesEverything(t *testing.T) {
	page := htmlOf(t, poison(t))
	want := map[string]int{} // of the elements that the same run has without the poison
	for _, e := range elements(t, page) {
		want[e.name]++
		for k, v := range e.attr {
			if strings.HasPrefix(k, "on") || strings.HasPrefix(strings.TrimSpace(v), "javascript:") {
				t.Errorf("%s has %s=%s", e.name, k, v)
			}
		}
	}
	for _, bad := range []string{"script", "img"} {
		if want[bad] > 0 {
			t.Errorf("the page has an element %s", bad)
		}
	}
	if want["title"] == 0 || want["h1"] != 1 || !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Error("the poison is not on the page as text")
	}
}

// TestNoMarkupIsMadeByHand: escaping is the template's alone.
func TestNoMarkupIsMadeByHand(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`template\.(HTML|JS|CSS|URL|Srcset)\w*\b`).Find(b); m != nil && string(m) != "template.HTMLEscapeString" {
			t.Errorf("%s makes %s: leave it to the template", f.Name(), m)
		}
	}
}

func TestHistogramsThatCanNotBeReadAreNotDrawn(t *testing.T) {
	good := figure(t, "all", 3000, 1e6)
	if _, ok := distributionOf("all", good); !ok {
		t.Fatal("a sound histogram is not drawn")
	}
	short := good
	short.Requests++
	raw, err := base64.StdEncoding.DecodeString(good.Histogram)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]string{
		"none": "", "no base64": "<script>", "no histogram": base64.StdEncoding.EncodeToString([]byte("no histogram at all, really")),
		"cut": base64.StdEncoding.EncodeToString(raw[:len(raw)/2]), "huge": strings.Repeat("A", mostHistogram+4),
	} {
		f := good
		f.Histogram = h
		if _, ok := distributionOf("all", f); ok {
			t.Errorf("%s: drawn", name)
		}
	}
	if _, ok := distributionOf("all", short); ok {
		t.Error("drawn, though it does not hold the requests that it is said to hold")
	}
}

// TestPercentilesStayOnTheDrawing also with one request, all alike, or apart by
// many decades.
func TestPercentilesStayOnTheDrawing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := hdrhistogram.New(1, 3600e6, 3)
		for _, v := range rapid.SliceOfN(rapid.Int64Range(0, 3600e6), 1, 60).Draw(t, "µs") {
			if err := h.RecordValue(v); err != nil {
				t.Fatal(err)
			}
		}
		limit := rapid.SampledFrom([]float64{0, 0.0001, 2, 3600}).Draw(t, "limit")
		c := percentiles("x", "x", []distribution{{"all", h}}, limit)
		onDrawing(t, c)
	})
}

func TestTimelinesStayOnTheDrawing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var points []checks.TimelinePoint
		for range rapid.IntRange(1, 40).Draw(t, "seconds") {
			p := checks.TimelinePoint{Second: len(points) + rapid.IntRange(0, 1).Draw(t, "gap"), Requests: rapid.IntRange(0, 9).Draw(t, "requests")}
			p.P50 = rapid.Float64Range(0, 1e4).Draw(t, "p50")
			p.P99 = p.P50 * rapid.Float64Range(1, 50).Draw(t, "ratio")
			points = append(points, p)
		}
		onDrawing(t, timeline("x", "x", points))
	})
}

func onDrawing(t *rapid.T, c *chart) {
	for _, curve := range c.Curves {
		for _, s := range curve.Segments {
			for pair := range strings.FieldsSeq(s) {
				x, y := split(t, pair)
				if !(x >= area.left-0.1 && x <= area.right+0.1 && y >= area.top-0.1 && y <= area.bottom+0.1) {
					t.Fatalf("%s has a point at %s", curve.Name, pair)
				}
			}
		}
	}
	for _, l := range c.Lines {
		x, y := split(t, l.X2+","+l.Y2)
		if !(x >= 0 && x <= c.Width && y >= 0 && y <= c.Height) {
			t.Fatalf("a line %s ends at %g, %g", l.Class, x, y)
		}
	}
}

func split(t *rapid.T, pair string) (x, y float64) {
	a, b, _ := strings.Cut(pair, ",")
	for _, n := range []struct {
		text string
		to   *float64
	}{{a, &x}, {b, &y}} {
		v, err := parse(n.text)
		if err != nil || math.IsNaN(v) {
			t.Fatalf("%q is no place: %v", pair, err)
		}
		*n.to = v
	}
	return x, y
}

func parse(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
