package github

import (
	"context"
	"errors"
	"regexp"
	"strconv"
)

// markText is how the aggregate check run repeats the ledger's mark.
var markText = regexp.MustCompile("\\| ledger \\| `([0-9]{1,18}) (sha256:[0-9a-f]{64})` \\|")

// PublishedMark is the newest mark of the ledger that gate's own check runs of
// the commit repeat; Seq is 0 where there is none.
func (c *Client) PublishedMark(ctx context.Context, commit string) (Mark, error) {
	if !commitHash.MatchString(commit) {
		return Mark{}, errors.New("read the mark of a commit: it is no full hash")
	}
	p := &publisher{c: c, v: Verdict{Commit: commit}}
	all, err := p.runs(ctx, AggregateName)
	if err != nil {
		return Mark{}, err
	}
	var newest Mark
	for _, r := range all[AggregateName] {
		if m := markText.FindStringSubmatch(r.output.GetSummary()); m != nil {
			if seq, err := strconv.ParseInt(m[1], 10, 64); err == nil && seq > newest.Seq {
				newest = Mark{Seq: seq, Digest: m[2]}
			}
		}
	}
	return newest, nil
}
