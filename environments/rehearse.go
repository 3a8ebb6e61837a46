package environments

import "time"

// Rehearse says how a release is tried on a copy of an environment's database.
type Rehearse struct {
	// Writes is how long writers are at work while parts of the copy are killed;
	// 4 s when left out.
	Writes Duration `yaml:"writes" json:"writes"`
}

// WithDefaults fills in what was left out.
func (r Rehearse) WithDefaults() Rehearse {
	if r.Writes == 0 {
		r.Writes = Duration(4 * time.Second)
	}
	return r
}

func (v *validator) rehearse(f string, r *Rehearse) {
	if r.Writes < 0 || r.Writes.D() > 10*time.Minute {
		v.say(f, "$.rehearse.writes", "write a duration up to 10m, or leave it out", "is %s", r.Writes)
	}
}
