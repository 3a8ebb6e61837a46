package github

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/smartcloudops/gate/policies"
)

// Mark is how far the ledger was when the decision was published: readers can
// see by it that a ledger was truncated.
type Mark struct {
	Seq    int64  // of the newest entry; 0: none
	Digest string // of it
}

// stamp orders decisions on one commit: by their time, then by the ledger, then
// by digest, so that all publishers agree on which of any two is newer.
type stamp struct {
	at          time.Time
	seq         int64
	environment string
	decision    string
}

func stampOf(d policies.Decision, m Mark) stamp {
	_, id, _ := strings.Cut(d.ID, ":")
	return stamp{at: d.At, seq: m.Seq, environment: d.Environment, decision: id[:min(16, len(id))]}
}

const stampPrefix = "gate-1"

// String is the external id of the decision's check runs.
func (s stamp) String() string {
	return fmt.Sprintf("%s:%019d:%d:%s:%s", stampPrefix, s.at.UnixNano(), s.seq, s.environment, s.decision)
}

// parseStamp reads what String wrote; ok is false for anything else.
func parseStamp(text string) (s stamp, ok bool) {
	f := strings.Split(text, ":")
	if len(f) != 5 || f[0] != stampPrefix {
		return stamp{}, false
	}
	at, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return stamp{}, false
	}
	seq, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return stamp{}, false
	}
	s = stamp{at: time.Unix(0, at), seq: seq, environment: f[3], decision: f[4]}
	return s, s.String() == text
}

// compare is negative when s is older than o.
func (s stamp) compare(o stamp) int {
	return cmp.Or(s.at.Compare(o.at), cmp.Compare(s.seq, o.seq), strings.Compare(s.decision, o.decision), strings.Compare(s.environment, o.environment))
}
