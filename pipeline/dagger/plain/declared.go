package plain

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"strings"
)

var (
	toolchain = regexp.MustCompile(`(?m)^ +toolchain: *"?(go1\.\d+(?:\.\d+|rc\d+))"?`)
	urlEnv    = regexp.MustCompile(`(?m)^ +url_env: *"?([A-Z][A-Z0-9_]*)"?`)
	listen    = regexp.MustCompile(`(?m)^listen: *"?[^"\s]*:(\d+)"?`)
)

// Toolchain is the Go that app.yaml declares, "" if none.
func Toolchain(app string) string { return first(toolchain, app) }

// URLEnv is the variable that an environment takes its database from, "" if it
// has one of its own.
func URLEnv(environment string) string { return first(urlEnv, environment) }

// Port is the one that an environment listens on, "" if none is declared.
func Port(environment string) string { return first(listen, environment) }

func first(r *regexp.Regexp, text string) string {
	if m := r.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// Pinned is the version that a go.mod requires of the module, "" if none.
func Pinned(gomod, module string) string {
	for line := range strings.Lines(gomod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1]
		}
	}
	return ""
}

// AdminSocket is where root's gate with this state directory looks for the daemon
// of the environment.
func AdminSocket(state, environment string) string {
	sum := sha256.Sum256([]byte(path.Join(state, "env", environment)))
	return "/tmp/gate-0/" + hex.EncodeToString(sum[:6]) + ".sock"
}
