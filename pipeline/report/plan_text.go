package report

import "io"

// PlanText writes a plan for a terminal.
func PlanText(w io.Writer, plan Plan) error {
	p := newPrinter(w)
	p.plan(plan)
	return p.end()
}

func (p *printer) plan(plan Plan) {
	head := plan.App + "  commit " + short(plan.Commit)
	if plan.Base != "" {
		head += " on " + short(plan.Base)
	}
	p.hang("", head)
	if plan.Release != "" {
		p.f("release %s\n", plan.Release)
	}
	if plan.Problem != "" {
		p.hang("problem ", plan.Problem)
	}
	p.f("\n")
	if len(plan.Environments) == 0 {
		p.f("no environment is planned\n")
		return
	}
	rows := [][]string{{"ENVIRONMENT", "NOW", "BY THIS CHANGE"}}
	for _, e := range plan.Environments {
		rows = append(rows, []string{e.Name, e.now().String(), e.next().String()})
	}
	p.table(-1, rows)
	for _, e := range plan.Environments {
		p.planned(e)
	}
}

func (p *printer) planned(e PlanEnvironment) {
	if e.Problem == "" && e.Held == "" && len(e.Migrations)+len(e.Changes) == 0 {
		return
	}
	p.f("\n%s\n", e.Name)
	if e.Problem != "" {
		p.hang("  problem    ", e.Problem)
	}
	if e.Held != "" {
		p.hang("  held       ", e.Held)
	}
	if e.Refused != "" {
		p.hang("  refused    ", e.Refused)
	}
	if e.NoReturn != "" {
		p.hang("  no return  ", e.NoReturn)
	}
	for _, m := range e.Migrations {
		p.hang("  migration  ", m.File+": "+plural(len(m.Findings), "finding"))
		p.findings("    ", m.Findings)
	}
	if len(e.Changes) == 0 {
		return
	}
	rows := [][]string{{"  CONFIGURATION", "CHANGE", "NOW", "BY THIS CHANGE"}}
	for _, c := range e.Changes {
		from, to := c.sides()
		rows = append(rows, []string{"  " + c.Name, string(c.Change), from.String(), to.String()})
	}
	p.table(-1, rows)
}
