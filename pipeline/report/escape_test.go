package report

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct{ in, prose, code string }{
		{"", "", ""},
		{"412 passed, 0 failed", "412 passed, 0 failed", "`412 passed, 0 failed`"},
		{"p95 2.31 s (≤ 2.6); done", "p95 2.31 s (≤ 2.6); done", "<code>p95 2.31 s (≤ 2.6); done</code>"},
		{"a < b", "a &#60; b", "<code>a &#60; b</code>"},
		{"1. no list", "1&#46; no list", "`1. no list`"},
		{"- no list", "&#45; no list", "`- no list`"},
		{"app/http/a_b.go:12", "<code>app/http/a&#95;b&#46;go&#58;12</code>", "`app/http/a_b.go:12`"},
		{"@someone", "<code><!-- -->&#64;someone</code>", "<code><!-- -->&#64;someone</code>"},
		{"#12", "<code>&#35;12</code>", "<code>&#35;12</code>"},
		{"GH-12", "<code>GH-12</code>", "`GH-12`"},
		{"see www.evil.example", "<code>see www&#46;evil&#46;example</code>", "`see www.evil.example`"},
		{"https://evil.example", "<code>https&#58;//evil&#46;example</code>", "`https://evil.example`"},
		{"at 4f2a9c01d3b8", "<code>at 4f2a9c01d3b8</code>", "`at 4f2a9c01d3b8`"},
		{"it succeeded", "it succeeded", "`it succeeded`"},
		{":tada: 12:30", "<code>&#58;tada: 12&#58;30</code>", "`:tada: 12:30`"},
		{"a|b", "<code>a&#124;b</code>", "<code>a&#124;b</code>"},
		{"`x`", "<code>&#96;x&#96;</code>", "<code>&#96;x&#96;</code>"},
		{"[a](b)", "<code>&#91;a&#93;(b)</code>", "<code>&#91;a&#93;(b)</code>"},
		{"</code>", "&#60;/code&#62;", "<code>&#60;/code&#62;</code>"},
		{"&#64;", "<code>&#38;&#35;64;</code>", "<code>&#38;&#35;64;</code>"},
		{"\\", "<code>&#92;</code>", "<code>&#92;</code>"},
		{"$x$", "<code>&#36;x&#36;</code>", "<code>&#36;x&#36;</code>"},
		{"::error::x", "<code>&#58;&#58;error&#58;&#58;x</code>", "`::error::x`"},
		{"##[error]", "<code>&#35;&#35;&#91;error&#93;</code>", "<code>&#35;&#35;&#91;error&#93;</code>"},
		{"a\n\n# b", "<code>a &#35; b</code>", "<code>a &#35; b</code>"},
		{"  a \t b  ", "a b", "`a b`"},
		{"x\u202ey\x1b", "<code>x&#92;u202ey&#92;x1b</code>", "<code>x&#92;u202ey&#92;x1b</code>"},
		{"✅ pass", "<code>✅ pass</code>", "<code>✅ pass</code>"},
	} {
		if got := prose(c.in); got != c.prose {
			t.Errorf("prose(%q) = %s, want %s", c.in, got, c.prose)
		}
		if got := code(c.in); got != c.code {
			t.Errorf("code(%q) = %s, want %s", c.in, got, c.code)
		}
	}
}

// rendered is a page as GitHub makes it of Markdown, before it links anything.
func rendered(t testing.TB, page string) []element {
	t.Helper()
	return elements(t, xhtml(t, page))
}

func xhtml(t testing.TB, page string) string {
	t.Helper()
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe(), html.WithXHTML()))
	var b bytes.Buffer
	if err := md.Convert([]byte(page), &b); err != nil {
		t.Fatal(err)
	}
	return "<page>" + b.String() + "</page>"
}

// FuzzEscape puts text of others at every kind of place and looks at what is
// made of it: the page has the same elements whatever the text is, the text is
// all there, and nothing links it afterwards.
func FuzzEscape(f *testing.F) {
	for _, s := range forgeries {
		f.Add(s)
	}
	f.Add(forged)
	f.Fuzz(func(t *testing.T, s string) {
		lines := preformatted("line", func(p *printer) {
			for line := range strings.SplitSeq(s, "\n") {
				p.f("%s\n", line)
			}
		})
		page := joined(0, []part{
			{items: []string{"## " + prose(s) + " z\n\n" + prose(s) + "\n\n" + code(s) + "\n\n"}},
			{open: tableOf("a", "b"), items: []string{row(prose(s), code(s))}, close: "\n"},
			{items: []string{"- <b>" + prose(s) + "</b>: " + prose(s) + "\n"}, close: "\n"},
			folded("t", lines),
		}, func([]string) string { return "end\n" })
		if got := uncommanded(page, "!", "!"); got != page {
			t.Errorf("commands in %q", page)
		}
		var shape []string
		words := strings.Join(strings.Fields(clean(s)), " ")
		texts := map[string]int{}
		all := rendered(t, page)
		for _, e := range all {
			if len(e.attr) > 0 {
				t.Errorf("<%s> has attributes %v", e.name, e.attr)
			}
			if e.name == "code" {
				if e.text != words {
					t.Errorf("%q became %q", words, e.text)
				}
				continue
			}
			if e.name == "td" {
				texts[e.text]++
			}
			shape = append(shape, e.name)
		}
		want := "page h2 p p table thead tr th th tbody tr td td ul li b details summary pre p"
		if words == "" {
			want = strings.Replace(want, "p p", "", 1)
			want = strings.Join(strings.Fields(want), " ")
		}
		if got := strings.Join(shape, " "); got != want {
			t.Errorf("of %q:\n%s\nwant\n%s\n%s", s, got, want, page)
		}
		if texts[words] != 2 {
			t.Errorf("%q is in the cells %v", words, texts)
		}
		quietTexts(t, all)
	})
}

// quietTexts fails where text stands that GitHub links once it has made the
// page: it looks into everything but code.
func quietTexts(t testing.TB, all []element) {
	t.Helper()
	outside := all[0].text
	for _, e := range all {
		if e.name == "code" || e.name == "pre" || e.name == "a" {
			outside = strings.Replace(outside, e.text, " ", 1)
		}
	}
	if i := strings.IndexAny(outside, "@#$`"); i >= 0 {
		t.Errorf("GitHub would see %q", outside[max(0, i-20):min(len(outside), i+20)])
	}
	if m := linked.FindString(outside); m != "" {
		t.Errorf("GitHub would link %q", m)
	}
	for _, r := range all[0].text {
		if r != '\n' && !unicode.IsGraphic(r) {
			t.Errorf("the page holds %U", r)
		}
	}
}

func TestCommandsOfWorkflowsAreNone(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"a::b":                         "a::b",
		"::error::x":                   "!:error::x",
		"x\n  ::error::x\ny":           "x\n  !:error::x\ny",
		"x\n\t\u00a0::error::x":        "x\n\t\u00a0!:error::x",
		"a ##[error]b":                 "a #?[error]b",
		"###[error]":                   "##?[error]",
		"x: ::error::x":                "x: ::error::x",
		"::\n::":                       "!:\n!:",
		"##[a] ##[b]\n::c ##[d]\n##[e": "#?[a] #?[b]\n!:c #?[d]\n#?[e",
	} {
		if got := uncommanded(in, "!", "?"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
