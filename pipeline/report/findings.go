package report

import (
	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/run"
)

// Findings are all that the run's evidence and its build complain of, each once.
func Findings(r *run.Result) []checks.Finding { return allFindings(r) }
