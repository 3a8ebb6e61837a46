package scaffold

import (
	"fmt"
	"path"
	"strings"

	"github.com/smartcloudops/gate/checks"
)

// runbooksDir is where runbooks are proposed.
const runbooksDir = "docs/runbooks"

// runbooks are a first runbook for each alert that gate can raise, the procedure
// for incidents, and the template for what is written afterwards. They are the
// owner's to mend.
func runbooks(owner, review string) map[string][]byte {
	files := map[string][]byte{}
	for _, a := range checks.Alerts() {
		p := &strings.Builder{}
		fmt.Fprintf(p, "---\nalert: %s\nowner: %s\nseverity: %s\nreview: %s\n---\n", a.Name, quote(owner), a.Severity, quote(review))
		fmt.Fprintf(p, "# %s\n\nIt means: %s.\n\n## Steps\n\n", a.Name, a.Says)
		for i, s := range a.Steps {
			fmt.Fprintf(p, "%d. %s\n", i+1, s)
		}
		if a.Severity == checks.Page {
			p.WriteString("\nWhile people notice it, it is an incident: [incident-response.md](incident-response.md).\n")
		}
		files[path.Join(runbooksDir, a.Name+".md")] = []byte(p.String())
	}
	files[path.Join(runbooksDir, "incident-response.md")] = fmt.Appendf(nil, incidentText, owner)
	files[path.Join(runbooksDir, "post-incident-template.md")] = []byte(afterText)
	return files
}

const incidentText = `# When something is wrong

## Who

- Whoever gets the alert leads the incident, until somebody else says "I lead".
- %s owns this procedure and is asked when nobody answers.
- The leader decides; others look, mend, and write down.

## Severity

- page: people notice it, or will within the hour. Somebody looks at once, day or night.
- ticket: nobody notices it yet. Somebody looks within a working day.

## Communication

- Within 15 minutes: tell those who use the service what does not work and when you say more.
- Then every 30 minutes, also when nothing is new, and when it is over.
- One place for all who help; what is decided is written there.

## Timeline

1. See it: the alert names the runbook. Note the time.
2. Stop the harm first: ` + "`gate rollback ENV`" + ` when it began with a release, ` + "`gate hold ENV --reason …`" + ` so that nothing else moves.
3. Find the cause by the runbook; write down what was done, and when.
4. It is over when the alert has ended and stays so for 30 minutes; ` + "`gate unhold ENV`" + `.
5. Within five working days: write post-incident-template.md, without blame.
`

const afterText = `# Incident of YYYY-MM-DD: what did not work

- From, until (UTC):
- Who noticed it, by which alert, how long after it began:
- What users could not do, and how many of them:
- Error budget spent (gate explain ENV, criterion uptime):

## Timeline

| time (UTC) | what happened, what was done |
| --- | --- |

## Cause

What made it possible, not who.

## What went well, what did not

## What changes

| what | who | until |
| --- | --- | --- |
`
