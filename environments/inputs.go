package environments

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Inputs are what a canary is judged by beside its requests. What is declared and
// can't be measured keeps it from passing.
type Inputs struct {
	Saturation *Saturation  `yaml:"saturation" json:"saturation,omitempty"`
	ErrorLogs  *ErrorLogs   `yaml:"error_logs" json:"error_logs,omitempty"`
	Prometheus []Prometheus `yaml:"prometheus" json:"prometheus,omitempty"`
	Command    []Measuring  `yaml:"command" json:"command,omitempty"`
}

// Saturation bounds what an instance of the canary uses by what one of the
// baseline does.
type Saturation struct {
	MaxCPURatio    float64 `yaml:"max_cpu_ratio" json:"max_cpu_ratio,omitempty"`       // 0: any
	MaxMemoryRatio float64 `yaml:"max_memory_ratio" json:"max_memory_ratio,omitempty"` // 0: any
}

// What an instance may always use more than one of the baseline.
const (
	CPUSlack    = 0.05     // of a processor
	MemorySlack = 16 << 20 // bytes
)

// ErrorLogs bounds lines of the canary's log at level error, for each 1,000
// requests, by those of the baseline.
type ErrorLogs struct {
	MaxRatio float64 `yaml:"max_ratio" json:"max_ratio"`
	Slack    float64 `yaml:"slack" json:"slack,omitempty"` // lines for each 1,000 requests; 0: 10
}

// Lines are Slack, or what counts without it.
func (l ErrorLogs) Lines() float64 {
	if l.Slack > 0 {
		return l.Slack
	}
	return 10
}

// Prometheus is a query with one number as its answer.
type Prometheus struct {
	Name    string   `yaml:"name" json:"name"`
	URL     string   `yaml:"url" json:"url"`     // of the server
	Query   string   `yaml:"query" json:"query"` // may hold ${RELEASE}, ${STABLE} and ${ENVIRONMENT}
	Max     *float64 `yaml:"max" json:"max,omitempty"`
	Min     *float64 `yaml:"min" json:"min,omitempty"`
	Timeout Duration `yaml:"timeout" json:"timeout,omitempty"` // 0: DefaultInputTimeout
}

// Measuring is a program that measures one number, or whose end does.
type Measuring struct {
	Name    string   `yaml:"name" json:"name"`
	Run     []string `yaml:"run" json:"run"` // absolute path and arguments; no shell
	Max     *float64 `yaml:"max" json:"max,omitempty"`
	Min     *float64 `yaml:"min" json:"min,omitempty"`
	Timeout Duration `yaml:"timeout" json:"timeout,omitempty"` // 0: DefaultInputTimeout
}

// Bounds of the time that measuring an input once may take.
const (
	DefaultInputTimeout = Duration(5 * time.Second)
	maxInputTimeout     = Duration(20 * time.Second)
)

// QueryVariables are what a query may hold.
var QueryVariables = []string{"RELEASE", "STABLE", "ENVIRONMENT"}

func (v *validator) inputs(f, at string, c Canary) {
	in := c.Inputs
	if in == nil {
		return
	}
	if in.Saturation == nil && in.ErrorLogs == nil && len(in.Prometheus)+len(in.Command) == 0 {
		v.say(f, at, "declare saturation, error_logs, prometheus or command, or drop it", "is empty")
	}
	if c.Weight == AllTraffic && (in.Saturation != nil || in.ErrorLogs != nil) {
		v.say(f, at, "keep prometheus and command alone", "compare with a baseline, and beside all traffic at once there is none")
	}
	if s := in.Saturation; s != nil {
		if s.MaxCPURatio == 0 && s.MaxMemoryRatio == 0 {
			v.say(f, at+".saturation", "declare max_cpu_ratio or max_memory_ratio", "is empty")
		}
		v.ratio(f, at+".saturation.max_cpu_ratio", s.MaxCPURatio, 0)
		v.ratio(f, at+".saturation.max_memory_ratio", s.MaxMemoryRatio, 0)
	}
	if l := in.ErrorLogs; l != nil {
		v.ratio(f, at+".error_logs.max_ratio", l.MaxRatio, 1)
		if l.Slack < 0 || l.Slack > 1000 {
			v.say(f, at+".error_logs.slack", "use lines for each 1,000 requests, 0 to 1000", "is %v", l.Slack)
		}
	}
	seen := map[string]bool{}
	for i, q := range in.Prometheus {
		at := fmt.Sprintf("%s.prometheus[%d]", at, i)
		v.input(f, at, q.Name, "prometheus."+q.Name, seen, q.Timeout, q.Max, q.Min)
		u, err := url.Parse(q.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			v.say(f, at+".url", "write it as http://host:9090, without a password", "is no address of a server")
		}
		if strings.TrimSpace(q.Query) == "" {
			v.say(f, at+".query", "write an instant query with one number as its answer", "is empty")
		}
		if q.Max == nil && q.Min == nil {
			v.say(f, at, "declare max or min", "bounds nothing")
		}
		v.variables(f, at+".query", []string{q.Query}, QueryVariables)
	}
	for i, m := range in.Command {
		at := fmt.Sprintf("%s.command[%d]", at, i)
		v.input(f, at, m.Name, "command."+m.Name, seen, m.Timeout, m.Max, m.Min)
		if len(m.Run) == 0 || !strings.HasPrefix(m.Run[0], "/") {
			v.say(f, at+".run", "write the program's absolute path, then its arguments", "is no program")
		}
	}
}

func (v *validator) ratio(f, at string, r, least float64) {
	if (r != 0 || least > 0) && (r < 1 || r > 1000) {
		v.say(f, at, "use 1 to 1000: times as much as the baseline", "is %v", r)
	}
}

func (v *validator) input(f, at, name, full string, seen map[string]bool, timeout Duration, high, low *float64) {
	if !nameRE.MatchString(name) || seen[full] {
		v.say(f, at+".name", "give each its own lower-case name", "is %q", name)
	}
	seen[full] = true
	if timeout < 0 || timeout > maxInputTimeout {
		v.say(f, at+".timeout", "use 1s to 20s", "is %s", timeout)
	}
	if high != nil && low != nil && *low > *high {
		v.say(f, at+".min", "make it the lower one", "is %v, above max, which is %v", *low, *high)
	}
}
