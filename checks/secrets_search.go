package checks

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// secretsSearch looks for known values and for what looks like a secret. It
// remembers places and names, and no text.
type secretsSearch struct {
	held    HeldSecrets
	needles []secretsNeedle
	longest int
	counts  map[string]SecretsPlace
	found   map[secretsWhere]*Finding
}

// secretsNeedle is a known value in one form.
type secretsNeedle struct {
	known int // index in held.Known
	form  string
	text  []byte
}

type secretsWhere struct{ place, rule, message string }

type secretsHit struct {
	known, at int
	form      string
}

func (h secretsHit) words() string {
	if h.form == "" {
		return ""
	}
	return " (" + h.form + ")"
}

const (
	secretsChunk = 1 << 20
	// secretsOverlap is more than any of the rules matches, so that nothing is
	// cut in two where one chunk ends.
	secretsOverlap = 4 << 10
)

func newSecretsSearch(held HeldSecrets) *secretsSearch {
	s := &secretsSearch{held: held, longest: secretsOverlap, counts: map[string]SecretsPlace{}, found: map[secretsWhere]*Finding{}}
	for i, k := range held.Known {
		if len(k.Value) < secretsShortest {
			continue
		}
		seen := map[string]bool{}
		add := func(form, text string) {
			if len(text) >= secretsShortest && !seen[text] {
				seen[text] = true
				s.needles = append(s.needles, secretsNeedle{i, form, []byte(text)})
				s.longest = max(s.longest, len(text))
			}
		}
		add("", k.Value)
		if quoted, err := json.Marshal(k.Value); err == nil {
			add("as JSON", strings.Trim(string(quoted), `"`))
		}
		var plain bytes.Buffer
		enc := json.NewEncoder(&plain)
		enc.SetEscapeHTML(false)
		if enc.Encode(k.Value) == nil {
			add("as JSON", strings.Trim(strings.TrimSpace(plain.String()), `"`))
		}
		add("URL-encoded", url.QueryEscape(k.Value))
		add("URL-encoded", url.PathEscape(k.Value))
		add("URL-encoded", strings.TrimPrefix(url.UserPassword("", k.Value).String(), ":"))
		add("hexadecimal", hex.EncodeToString([]byte(k.Value)))
		add("hexadecimal", strings.ToUpper(hex.EncodeToString([]byte(k.Value))))
		for before := range 3 {
			add("base64", secretsBase64(base64.RawStdEncoding, k.Value, before))
			add("base64", secretsBase64(base64.RawURLEncoding, k.Value, before))
		}
	}
	return s
}

// secretsBase64 is what value looks like in base64 behind a number of other
// bytes, without the characters that its neighbours have a say in.
func secretsBase64(e *base64.Encoding, value string, before int) string {
	text := e.EncodeToString([]byte(strings.Repeat("\x00", before) + value))
	return text[(before*8+5)/6 : (before+len(value))*8/6]
}

func (s *secretsSearch) count(kind string, n int) {
	c := s.counts[kind]
	c.Items++
	c.Bytes += int64(n)
	s.counts[kind] = c
}

// find remembers a finding; of the same at one place the first.
func (s *secretsSearch) find(place, rule string, line int, message string) {
	at := secretsWhere{place, rule, message}
	if s.found[at] != nil {
		return
	}
	s.found[at] = &Finding{
		Tool: "secrets", Rule: rule, Severity: "high", File: place, Line: line, Message: message,
		Fix: "rotate it, take it away there, and refer to it as a secret of the environment",
	}
}

func (s *secretsSearch) sorted() []Finding {
	out := []Finding{}
	for _, f := range s.found {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	return out
}

// values are the known values in a text, each in each form once.
func (s *secretsSearch) values(text []byte) []secretsHit {
	var out []secretsHit
	for _, n := range s.needles {
		if i := bytes.Index(text, n.text); i >= 0 {
			out = append(out, secretsHit{n.known, i, n.form})
		}
	}
	return out
}

// text searches one text of the kind from beginning to end.
func (s *secretsSearch) text(ctx context.Context, kind, name string, r io.Reader) error {
	// The commit's files are searched for the shapes of secrets by leaks; and what
	// strangers send in a request must not be able to stop a promotion.
	shapes := kind != "source" && kind != "requests"
	if kind == "requests" {
		kind = "logs"
	}
	place := kind + " " + name
	if kind == "source" {
		place = name
	}
	buf := make([]byte, 0, secretsChunk+s.longest)
	var size int64
	lines, binary := 0, false
	for first := true; ; first = false {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		kept := len(buf)
		n, err := io.ReadFull(r, buf[kept:kept+secretsChunk])
		buf, size = buf[:kept+n], size+int64(n)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return secretsBlind{place + ": " + err.Error()}
		}
		if first {
			binary = bytes.IndexByte(buf[:min(len(buf), 8<<10)], 0) >= 0
		}
		s.chunk(place, buf, lines, binary, shapes)
		if end {
			break
		}
		cut := max(0, len(buf)-s.longest)
		lines += bytes.Count(buf[:cut], []byte{'\n'})
		buf = append(buf[:0], buf[cut:]...)
	}
	c := s.counts[kind]
	c.Items++
	c.Bytes += size
	s.counts[kind] = c
	return nil
}

// look searches a short text at once.
func (s *secretsSearch) look(place string, text []byte, shapes bool) {
	s.chunk(place, text, 0, true, false)
	if shapes {
		for _, hit := range secretsShapes(text, true) {
			s.find(place, hit.name, 0, "here is "+hit.what)
		}
	}
}

func (s *secretsSearch) chunk(place string, text []byte, lines int, binary, shapes bool) {
	line := func(at int) int {
		if binary {
			return 0
		}
		return lines + bytes.Count(text[:at], []byte{'\n'}) + 1
	}
	for _, hit := range s.values(text) {
		s.find(place, "known-value", line(hit.at), fmt.Sprintf("the value of %s stands here%s", s.held.Known[hit.known].Name, hit.words()))
	}
	if !shapes {
		return
	}
	for _, hit := range secretsShapes(text, !binary) {
		s.find(place, hit.name, line(hit.at), "here is "+hit.what)
	}
}

// secretsRule is one shape of a secret.
type secretsRule struct {
	name, what string
	hints      []string // in lower case; without one of them there is no match
	expression *regexp.Regexp
	random     bool // the first group must look random
	text       bool // not in binaries, where anything may stand
}

// secretsRules are shapes that hardly anything else has: what is found here
// stops a promotion. Each is shorter than secretsOverlap.
var secretsRules = []secretsRule{
	{name: "aws-access-key", what: "an access key of AWS", hints: []string{"akia", "asia"}, expression: regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z2-7]{16}\b`)},
	{name: "github-token", what: "a token of GitHub", hints: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}, expression: regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})\b`)},
	{name: "slack-token", what: "a token of Slack", hints: []string{"xox"}, expression: regexp.MustCompile(`\bxox[abprs]-[0-9]{6,}-[A-Za-z0-9-]{16,255}`)},
	{name: "stripe-key", what: "a key of Stripe", hints: []string{"k_live_"}, expression: regexp.MustCompile(`\b[rs]k_live_[A-Za-z0-9]{20,255}\b`)},
	{name: "google-key", what: "a key of Google", hints: []string{"aiza"}, expression: regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{name: "private-key", what: "a private key", hints: []string{"private key-----"}, expression: regexp.MustCompile(`-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY-----(?:\s|\\[nr])+[A-Za-z0-9+/=]{40,80}`)},
	{name: "jwt", what: "a JSON Web Token", text: true, hints: []string{"eyj"}, expression: regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,1000}\.[A-Za-z0-9_-]{20,1000}`)},
	{name: "address-password", what: "an address with a password", text: true, hints: []string{"://"}, expression: regexp.MustCompile(`[a-z][a-z0-9+.-]{1,20}://[^\s:/@"'<>]{0,100}:([^\s:/@"'<>{}$*]{6,255})@`)},
	{name: "assigned-secret", what: "a value that is named a secret and looks random", text: true, random: true, hints: []string{"passw", "secret", "token", "api"},
		expression: regexp.MustCompile(`(?i)(?:passw(?:or)?d|secret|token|api[_-]?key)\\?["']?\s{0,3}[:=]\s{0,3}\\?["']?([A-Za-z0-9+/_=.~!#%^-]{12,255})`)},
}

// secretsBlank is what stands where a secret was taken out.
var secretsBlank = regexp.MustCompile(`(?i)^(?:x+|\.+|-+|redacted|hidden|password|secret)$`)

type secretsShape struct {
	secretsRule
	at int
}

// secretsShapes are the rules that match, each with its first place.
func secretsShapes(text []byte, isText bool) []secretsShape {
	lower := bytes.ToLower(text)
	var out []secretsShape
	for _, r := range secretsRules {
		hinted := slices.ContainsFunc(r.hints, func(h string) bool { return bytes.Contains(lower, []byte(h)) })
		if r.text && !isText || !hinted {
			continue
		}
		if at := r.first(text); at >= 0 {
			out = append(out, secretsShape{r, at})
		}
	}
	return out
}

// first is where the rule first matches, or -1.
func (r secretsRule) first(text []byte) int {
	for _, m := range r.expression.FindAllSubmatchIndex(text, -1) {
		if len(m) < 4 {
			return m[0]
		}
		value := string(text[m[2]:m[3]])
		if secretsBlank.MatchString(value) || r.random && !secretsRandom(value) {
			continue
		}
		return m[0]
	}
	return -1
}

// secretsRandom says whether a text looks drawn by lot: letters and digits, and
// of many kinds. A digest is no secret, whatever it is called.
func secretsRandom(v string) bool {
	if strings.HasPrefix(v, "sha256") || !strings.ContainsAny(v, "0123456789") || !strings.ContainsFunc(v, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }) {
		return false
	}
	return configEntropy(v) >= 3.2
}
