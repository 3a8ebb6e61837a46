package environments

import "fmt"

// MaxWeight is what a canary gets at most beside a baseline that gets as much.
const MaxWeight = 50

// MinSynthetic is how many synthetic requests a second and arm there are at least,
// where there are any.
const MinSynthetic = 10

// AllTraffic is the weight of a release that gets all traffic at once.
const AllTraffic = 100

// maxSteps of a canary.
const maxSteps = 20

// Comparisons are the steps in which a release gets its traffic, in their order;
// none: it gets all of it without having been compared.
func (p Promotion) Comparisons() []Canary {
	all := p.Steps
	if len(all) == 0 && p.Canary != nil {
		all = []Canary{*p.Canary}
	}
	out := make([]Canary, len(all))
	for i, c := range all {
		if c.Weight > MaxWeight && c.Weight < AllTraffic {
			c.Weight = MaxWeight // as older declarations have it
		}
		out[i] = c
	}
	return out
}

func (v *validator) promotion(e *Environment) {
	f, p := e.File, e.Promotion
	v.people(e)
	if p.Soak < 0 {
		v.say(f, "$.promotion.soak", "write 0s or more", "is %s", p.Soak)
	}
	_, samples := e.Thresholds["canary"]["min_samples"]
	switch {
	case p.From == "" && p.Canary != nil:
		v.say(f, "$.promotion.canary", "declare promotion.from, or drop it", "needs an environment to be promoted from")
	case p.From == "" && len(p.Steps) > 0:
		v.say(f, "$.promotion.steps", "declare promotion.from, or drop them", "need an environment to be promoted from")
	case p.Canary != nil && len(p.Steps) > 0:
		v.say(f, "$.promotion.steps", "keep one of the two", "stand beside promotion.canary, which is one step")
	case p.From != "" && p.Canary == nil && len(p.Steps) == 0:
		v.say(f, "$.promotion", "declare weight, min_samples, limit and synthetic, or several such steps", "lacks canary or steps")
	case p.Canary != nil:
		v.comparison(f, "$.promotion.canary", *p.Canary)
	case len(p.Steps) > maxSteps:
		v.say(f, "$.promotion.steps", fmt.Sprintf("use at most %d", maxSteps), "are %d", len(p.Steps))
	case len(p.Steps) > 0 && samples:
		v.say(f, "$.thresholds.canary.min_samples", "drop it: each step has its own", "stands beside promotion.steps")
	}
	for i, c := range p.Steps {
		at := fmt.Sprintf("$.promotion.steps[%d]", i)
		v.comparison(f, at, c)
		switch {
		case c.Weight == AllTraffic && len(p.Steps) > 1:
			v.say(f, at+".weight", "make it the only step, or use at most 50: after the last one a release gets all traffic anyway", "is all traffic, and there are other steps")
		case i > 0 && c.Weight <= p.Steps[i-1].Weight:
			v.say(f, at+".weight", "give each step more traffic than the one before", "is %d after %d", c.Weight, p.Steps[i-1].Weight)
		case i > 0 && c.Sticky != p.Steps[0].Sticky:
			v.say(f, at+".sticky", "name the same cookie in each step", "is %q after %q", c.Sticky, p.Steps[0].Sticky)
		}
	}
}

func (v *validator) comparison(f, at string, c Canary) {
	if c.Weight != AllTraffic && (c.Weight < 1 || c.Weight > MaxWeight) {
		v.say(f, at+".weight", "use 1 to 50, or 100 for all traffic at once: the release that it is compared with gets as much", "is %d", c.Weight)
	}
	v.between(f, at+".min_samples", c.MinSamples, 1, 1_000_000)
	v.between(f, at+".synthetic", c.Synthetic, 0, 1000)
	if c.Synthetic > 0 && c.Synthetic < MinSynthetic {
		v.say(f, at+".synthetic", fmt.Sprintf("use %d or more, or 0 for none", MinSynthetic), "is %d a second: too few to tell anything before the limit", c.Synthetic)
	}
	v.positive(f, at+".limit", c.Limit)
	v.inputs(f, at+".inputs", c)
	if c.Sticky != "" && !cookieRE.MatchString(c.Sticky) {
		v.say(f, at+".sticky", "write the name of a cookie, as session", "is %q", c.Sticky)
	}
}

func (v *validator) contract(f string, c *Contract) {
	if c == nil {
		return
	}
	if !nameRE.MatchString(c.Name) {
		v.say(f, "$.migrate.contract.name", "name what it takes away, in lower-case letters, digits and hyphens: it runs once by that name", "is %q", c.Name)
	}
	if len(c.Args) == 0 {
		v.say(f, "$.migrate.contract.args", "write the arguments that the service does it by", "is empty")
	}
	v.variables(f, "$.migrate.contract.args", c.Args, serveVariables)
}
