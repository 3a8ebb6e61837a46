package main

import (
	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// report has gate render each format.
func (m *Gate) report(e claimed) *dagger.Directory {
	on := m.judging(e).WithDirectory("/work/report", dag.Directory())
	for _, f := range []struct{ format, file string }{
		{"html", "report.html"}, {"markdown", "report.md"}, {"sarif", "report.sarif"}, {"junit", "junit.xml"}, {"json", "report.json"},
	} {
		on = on.WithExec([]string{"gate", "report", string(m.Environment), "--format", f.format, "--file", "/work/report/" + f.file})
	}
	return on.Directory("/work/report")
}
