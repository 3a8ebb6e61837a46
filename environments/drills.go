package environments

import (
	"strings"
	"time"
)

// Drills says how the drills disturb the service: each is a phase of one load at
// Update.Rate. What is left out has a default.
type Drills struct {
	Lead    Duration `yaml:"lead" json:"lead"`       // load before and after each disturbance; 1.5 s
	Recover Duration `yaml:"recover" json:"recover"` // how long is waited for a recovery; 30 s
	Scale   Duration `yaml:"scale" json:"scale"`     // how long is waited for instances to come, and beyond down_after to go; 30 s
	Users   int      `yaml:"users" json:"users"`     // without think time, that drive the scaling up; three times what the target asks of the fewest instances
	Write   *Write   `yaml:"write" json:"write,omitempty"`
}

// Write is a request that stores something, and how to find it again. Read is
// the path of a GET request that answers with everything that one user of one
// run has stored; Holds is what stands in that answer exactly once for a
// request that was executed once. The placeholders of endpoints are replaced in
// both; Holds must contain ${SEQ}.
type Write struct {
	Method  string            `yaml:"method" json:"method"`
	Path    string            `yaml:"path" json:"path"`
	Headers map[string]string `yaml:"headers" json:"headers,omitempty"`
	Body    string            `yaml:"body" json:"body,omitempty"`
	Expect  Expect            `yaml:"expect" json:"expect"`
	Read    string            `yaml:"read" json:"read"`
	Holds   string            `yaml:"holds" json:"holds"`
}

// WithDefaults fills in what was left out.
func (d Drills) WithDefaults() Drills {
	for at, value := range map[*Duration]time.Duration{
		&d.Lead: 1500 * time.Millisecond, &d.Recover: 30 * time.Second, &d.Scale: 30 * time.Second,
	} {
		if *at == 0 {
			*at = Duration(value)
		}
	}
	return d
}

// Endpoint is the write as one kind of request among others.
func (w *Write) Endpoint(weight int) Endpoint {
	return Endpoint{Name: "drill-write", Method: w.Method, Path: w.Path, Headers: w.Headers, Body: w.Body, Weight: weight, Expect: w.Expect}
}

// What a scaling may follow.
const (
	Concurrency = "concurrency" // requests in flight per instance
	CPU         = "cpu"         // percent of one core per instance
)

// Scaling says when instances are added and taken away, between the bounds of
// Instances.
type Scaling struct {
	Metric    string   `yaml:"metric" json:"metric"`         // concurrency or cpu
	Target    int      `yaml:"target" json:"target"`         // that an instance is to have of it
	UpAfter   Duration `yaml:"up_after" json:"up_after"`     // more must have been needed for so long; 1 s
	DownAfter Duration `yaml:"down_after" json:"down_after"` // fewer must have been enough for so long; 30 s
}

// ScalingInForce is the declared scaling with its defaults: eight requests in
// flight, or 70% of a core, for each instance.
func (e *Environment) ScalingInForce() Scaling {
	var s Scaling
	if e.Scaling != nil {
		s = *e.Scaling
	}
	if s.Metric == "" {
		s.Metric = Concurrency
	}
	if s.Target == 0 {
		s.Target = map[string]int{Concurrency: 8, CPU: 70}[s.Metric]
	}
	if s.UpAfter == 0 {
		s.UpAfter = Duration(time.Second)
	}
	if s.DownAfter == 0 {
		s.DownAfter = Duration(30 * time.Second)
	}
	return s
}

func (v *validator) scaling(f string, s *Scaling) {
	if s == nil {
		return
	}
	switch s.Metric {
	case "", Concurrency:
		v.between(f, "$.scaling.target", s.Target, 0, 10000)
	case CPU:
		v.between(f, "$.scaling.target", s.Target, 0, 100)
	default:
		v.say(f, "$.scaling.metric", "use concurrency (requests in flight) or cpu (percent of a core)", "is %q", s.Metric)
	}
	v.span(f, "$.scaling.up_after", s.UpAfter)
	v.span(f, "$.scaling.down_after", s.DownAfter)
}

func (v *validator) drills(f string, d *Drills) {
	v.span(f, "$.drills.lead", d.Lead)
	v.span(f, "$.drills.recover", d.Recover)
	v.span(f, "$.drills.scale", d.Scale)
	v.between(f, "$.drills.users", d.Users, 0, 1000)
	w := d.Write
	if w == nil {
		return
	}
	const at = "$.drills.write"
	v.endpoint(f, at, w.Endpoint(1))
	if !strings.HasPrefix(w.Read, "/") {
		v.say(f, at+".read", "name the path that answers with what was written, as /notes?user=${USER}", "is %q", w.Read)
	}
	v.variables(f, at+".read", []string{w.Read}, loadVariables)
	v.variables(f, at+".holds", []string{w.Holds}, loadVariables)
	if !strings.Contains(w.Holds, "${SEQ}") {
		v.say(f, at+".holds", `hold ${SEQ} and what ends it, as "value":${SEQ}}`, "does not tell one request from another")
	}
}

// span is a duration that may be left out, and is an hour at most.
func (v *validator) span(f, at string, d Duration) {
	if d < 0 || d.D() > time.Hour {
		v.say(f, at, "write a duration up to 1h, or leave it out", "is %s", d)
	}
}
