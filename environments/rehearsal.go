package environments

import "time"

// Rehearsal says how a release is tried on a copy of an environment's database.
type Rehearsal struct {
	// Writes is how long writers are at work while parts of the copy are killed;
	// 4 s when left out.
	Writes Duration `yaml:"writes" json:"writes"`
}

// WithDefaults fills in what was left out.
func (r Rehearsal) WithDefaults() Rehearsal {
	if r.Writes == 0 {
		r.Writes = Duration(4 * time.Second)
	}
	return r
}

func (v *validator) rehearsal(f string, r *Rehearsal) {
	if r.Writes < 0 || r.Writes.D() > 10*time.Minute {
		v.say(f, "$.rehearsal.writes", "write a duration up to 10m, or leave it out", "is %s", r.Writes)
	}
}
