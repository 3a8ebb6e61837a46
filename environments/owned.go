package environments

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// owned are the files that say how a change is measured and judged, with a word
// for people. A change that touches one of them can't vouch for itself.
var owned = []struct{ pattern, kind string }{
	{Dir + "/trust.yaml", "trust"},
	{Dir + "/waivers/**", "waivers"},
	{Dir + "/**", "declarations"},
	{"policies/thresholds.yaml", "thresholds"},
	{"policies/**", "policies"},
	{".github/**", "workflows"},
	{"{,docs/}CODEOWNERS", "code owners"},
	{"dagger.json", "pipeline"},
}

// OwnedKind says what kind of owned file the path of a repository's file is, ""
// for one that anybody may change. Paths have slashes and no leading one.
func (t *Trust) OwnedKind(path string) string {
	for _, o := range owned {
		if ok, err := doublestar.Match(o.pattern, path); err == nil && ok {
			return o.kind
		}
	}
	if t == nil {
		return ""
	}
	for _, pattern := range t.Owned {
		// Validated patterns match or don't; one that is broken owns everything.
		if ok, err := doublestar.Match(pattern, path); err != nil || ok {
			return "gate"
		}
	}
	return ""
}

// Approver says whether the GitHub login may approve a change for the
// environment. Logins are compared as GitHub does, without regard to case.
func (t *Trust) Approver(login, environment string) bool {
	for _, p := range t.People {
		if strings.EqualFold(p.GitHub, login) && slices.Contains(p.May, "approve") && (len(p.Environments) == 0 || slices.Contains(p.Environments, environment)) {
			return true
		}
	}
	return false
}
