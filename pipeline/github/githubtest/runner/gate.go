package runner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Gate is a gate that is built already. A job that asks for exactly that one is
// given it; whatever else it asks of go, go does.
type Gate struct {
	Binary  string
	Version string // that go install is asked for; empty: none
	// Sources is the checkout that Binary was built from; empty: none. A job that
	// builds the very same sources is given Binary.
	Sources string
}

// sources prints a digest of everything that a build of gate in the working
// folder reads of its module.
const sources = `list() {
	"$go" list -deps -f '{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .SFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}' ./pipeline/cmd/gate
}
digest() { ( set -o pipefail; { list && echo "$PWD/go.mod" && echo "$PWD/go.sum"; } | sed "s#^$PWD/##" | grep . | LC_ALL=C sort -u | tr '\n' '\0' | xargs -0 sha256sum | sha256sum ); }
`

// makeShim puts a go before the real one, which knows two commands.
func (r *Runner) makeShim() (string, error) {
	dir := r.folder("shim")
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- apps run as other users
		return "", err
	}
	real, err := exec.LookPath("go")
	if err != nil {
		return "", err
	}
	want := ""
	if r.o.Gate.Sources != "" {
		cmd := exec.Command("bash", "-c", "go="+quote(real)+"\n"+sources+"digest")
		cmd.Dir = r.o.Gate.Sources
		out, err := cmd.Output()
		if want = strings.TrimSpace(string(out)); err != nil || want == "" {
			return "", fmt.Errorf("the sources of gate in %s: %w", r.o.Gate.Sources, err)
		}
	}
	text := "#!/bin/bash\ngo=" + quote(real) + "\nbinary=" + quote(r.o.Gate.Binary) + "\nwant=" + quote(want) + "\nversion=" + quote(r.o.Gate.Version) + `
case "$*" in
"install github.com/smartcloudops/gate/pipeline/cmd/gate@$version")
	if [ -n "$version" ] && [ -n "${GOBIN:-}" ]; then
		mkdir -p "$GOBIN" && exec cp "$binary" "$GOBIN/gate"
	fi
	echo "go: gate $* is none that was registered" >&2
	exit 1
	;;
"build -trimpath -o $RUNNER_TEMP/bin/ ./pipeline/cmd/gate")
` + sources + `	if [ -n "$want" ] && [ "$(digest)" = "$want" ]; then
		mkdir -p "$RUNNER_TEMP/bin" && exec cp "$binary" "$RUNNER_TEMP/bin/gate"
	fi
	echo "these are other sources than those of the gate that is there: building" >&2
	;;
esac
exec "$go" "$@"
`
	return dir, os.WriteFile(filepath.Join(dir, "go"), []byte(text), 0o755) // #nosec G306 -- a program
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
