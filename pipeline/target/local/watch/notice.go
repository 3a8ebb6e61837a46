package watch

import (
	"maps"
	"slices"
	"strings"
)

// Notice is an alert that holds by what others know.
type Notice struct {
	Alert   string // one of Noticeable
	Detail  string // tells several of one kind apart
	Summary string
}

// Noticeable are the alerts that only others know of.
var Noticeable = []string{"override", "drift", "degraded"}

// noticed raises what others say, and ends what they don't say any more.
func (r *Rules) noticed(l Look) (out []condition) {
	if !l.Noticed {
		return nil
	}
	said := map[string]bool{}
	for _, n := range l.Notices {
		c := condition{alert: n.Alert, detail: n.Detail, holds: true, summary: n.Summary}
		if slices.Contains(Noticeable, n.Alert) && !said[c.fingerprint()] {
			said[c.fingerprint()] = true
			out = append(out, c)
		}
	}
	for _, fp := range slices.Sorted(maps.Keys(r.active)) {
		alert, detail, _ := strings.Cut(fp, ":")
		if slices.Contains(Noticeable, alert) && !said[fp] {
			out = append(out, condition{alert: alert, detail: detail, summary: "it is over"})
		}
	}
	return out
}
