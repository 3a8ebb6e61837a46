package release

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// position is how the go command points to a place: file:line, mostly :column.
var position = regexp.MustCompile(`^([^\s:][^:]*?\.(?:go|mod|sum|work|s|txt)):(\d+)(?::\d+)?: (.*)$`)

// notCode are signs that a build failed for what is outside of the commit's own
// code: a module that cannot be had, or is another one than go.sum says.
var notCode = []string{
	"dial tcp", "no such host", "i/o timeout", "TLS handshake", "proxyconnect", "connection refused", "connection reset",
	"verifying module", "verifying go.mod", "checksum mismatch", "SECURITY ERROR", "module lookup disabled", "410 Gone", "404 Not Found",
	"unrecognized import path", "invalid version", "unknown revision", "terminal prompts disabled", "exec: \"git\"",
}

// buildError makes findings of what the go command printed. module is the
// folder that it ran in, relative to the repository.
func buildError(pkg, module, output string, exit error) *BuildError {
	e := &BuildError{Package: pkg, Reason: ReasonCompile}
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		switch m := position.FindStringSubmatch(line); {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "go: downloading "):
		case m != nil:
			file := m[1]
			if !path.IsAbs(file) {
				file = path.Join(module, file)
			}
			n, _ := strconv.Atoi(m[2]) // digits only; too many of them leave 0: no line
			e.Findings = append(e.Findings, finding(file, n, m[3], ""))
		case (line[0] == '\t' || line[0] == ' ') && len(e.Findings) > 0:
			last := &e.Findings[len(e.Findings)-1]
			last.Message += "\n" + strings.TrimSpace(line)
		default:
			e.Findings = append(e.Findings, finding("", 0, strings.TrimPrefix(strings.TrimSpace(line), "go: "), ""))
		}
	}
	if len(e.Findings) == 0 {
		e.Findings = append(e.Findings, finding("", 0, "go build: "+exit.Error(), ""))
	}
	for _, sign := range notCode {
		if strings.Contains(output, sign) {
			e.Reason = ReasonModules
			for i := range e.Findings {
				if strings.Contains(e.Findings[i].Message, sign) {
					e.Findings[i].Rule = "modules"
				}
			}
		}
	}
	return e
}
