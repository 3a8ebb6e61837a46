package report

import (
	"io"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// Drift writes where what runs in the environment is not what is desired.
func Drift(w io.Writer, environment string, all []promotion.Difference) error {
	p := newPrinter(w)
	if len(all) == 0 {
		p.f("%s runs what is desired\n", environment)
	}
	for _, d := range all {
		p.f("%s: %s\n", environment, d.What)
		p.hang("  want  ", d.Want)
		p.hang("  got   ", d.Got)
		p.hang("  next  ", d.Next)
	}
	return p.end()
}
