package ledger

import (
	"context"
	"fmt"
	"strings"
)

// Trailers of the commits that gate writes on env branches, in a paragraph of
// their own at the end of the message. They count only where gate is the
// committer: whoever merges, squashes or picks such a commit copies its words.
const (
	markTrailer    = "Gate-Ledger"  // how far the ledger was seen, see Mark
	requestTrailer = "Gate-Request" // id of the request, where it was committed again
	settledTrailer = "Gate-Settles" // no request: it says what runs; the value is the request that came to nothing, or "-"
	envTrailer     = "Gate-Environment"
)

// trailer is one line of the last paragraph.
type trailer struct{ key, value string }

func withTrailers(message string, all ...trailer) string {
	var b strings.Builder
	b.WriteString(strings.TrimRight(message, "\n"))
	b.WriteString("\n\n")
	for _, t := range all {
		fmt.Fprintf(&b, "%s: %s\n", t.key, t.value)
	}
	return b.String()
}

// trailersOf returns what the last paragraph of a message says. It is never the
// first: that is the subject.
func trailersOf(message string) map[string]string {
	message = strings.TrimRight(message, "\n")
	i := strings.LastIndex(message, "\n\n")
	if i < 0 {
		return nil
	}
	all := map[string]string{}
	for line := range strings.Lines(message[i+2:]) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			all[key] = value
		}
	}
	return all
}

// withoutTrailers is the message without its last paragraph.
func withoutTrailers(message string) string {
	message = strings.TrimRight(message, "\n")
	if i := strings.LastIndex(message, "\n\n"); i >= 0 {
		return message[:i]
	}
	return message
}

// ownTrailers are those of a commit that gate itself has made; nil for others'.
func ownTrailers(c object) map[string]string {
	for _, v := range header(c.data, "committer") {
		if who, _, _ := cutSign(v); who == gateCommitter {
			_, message, _ := strings.Cut(string(c.data), "\n\n")
			return trailersOf(message)
		}
	}
	return nil
}

// witnessed is a mark with the commit that repeats it.
type witnessed struct {
	commit string
	Mark
}

// marks are those in gate's commits that to has and from has not; from may be
// empty.
func (r *repository) marks(ctx context.Context, from, to string) ([]witnessed, error) {
	args := []string{"log", "-z", "--format=%H%n%cn <%ce>%n%B", to}
	if from != "" {
		args = append(args, "--not", from)
	}
	out, err := r.git(ctx, append(args, "--")...)
	if err != nil {
		return nil, err
	}
	var all []witnessed
	for one := range strings.SplitSeq(string(out), "\x00") {
		commit, rest, _ := strings.Cut(one, "\n")
		committer, message, _ := strings.Cut(rest, "\n")
		text, ok := trailersOf(message)[markTrailer]
		if committer != gateCommitter || !ok {
			continue
		}
		m, err := ParseMark(text)
		if err != nil {
			return nil, fmt.Errorf("%w: commit %.12s: %w", ErrBroken, commit, err)
		}
		all = append(all, witnessed{commit, m})
	}
	return all, nil
}
