package main

import (
	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// Render evidence, and the decision on it, for people and for other tools.
//
// The evidence is imported as decide does it.
//
// Returns a folder: report.html, report.md, report.sarif, junit.xml, report.json.
//
// +cache="never"
func (m *Gate) Report(
	// Folder of evidence, as verify and run return it.
	evidence *dagger.Directory,
	// What the call that measured was given as its nonce.
	nonce string,
	// When that call began, as in 2026-01-02T03:04:05Z: nothing older is taken.
	since string,
	// When it ended (default: now).
	// +optional
	until string,
	// Commit that was to be measured.
	// +default="HEAD"
	commit string,
) *dagger.Directory {
	on := m.judging(evidence, nonce, since, until, commit).WithDirectory("/work/report", dag.Directory())
	for _, f := range []struct{ format, file string }{
		{"html", "report.html"}, {"markdown", "report.md"}, {"sarif", "report.sarif"}, {"junit", "junit.xml"}, {"json", "report.json"},
	} {
		on = on.WithExec([]string{"gate", "report", m.Environment, "--format", f.format, "--file", "/work/report/" + f.file})
	}
	return on.Directory("/work/report")
}
