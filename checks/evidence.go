// Package checks measures. A check yields evidence and never judges it: what a
// figure is worth, policies/ says.
package checks

import (
	"encoding/json"
	"time"
)

// EvidenceType is the predicate's type in the in-toto statement that carries
// evidence.
const EvidenceType = "https://gate.smartcloudops.dev/evidence/v1"

// Status says what came of a measurement.
type Status string

const (
	Completed     Status = "completed"      // measured
	Errored       Status = "error"          // the check itself broke
	Unavailable   Status = "unavailable"    // what it needs is not there
	Invalid       Status = "invalid"        // the meter was not sound
	NotApplicable Status = "not_applicable" // nothing to measure, with a reason
)

// Scope says what evidence is about.
type Scope string

const (
	OfRelease     Scope = "release"     // subject: the release's digest
	OfEnvironment Scope = "environment" // subject: the environment's configuration digest
	OfService     Scope = "service"
)

// Subject is what was measured. Digest is "sha256:…".
type Subject struct {
	Scope  Scope  `json:"scope"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Trust says whose code measured.
type Trust string

const (
	TrustBase   Trust = "base"   // judge and meter come from the base
	TrustChange Trust = "change" // made by code of the change itself: never reused for promotion
)

// Evidence is the predicate of a statement: what one check measured once.
type Evidence struct {
	Check       string            `json:"check"`
	Version     int               `json:"version"`
	Subject     Subject           `json:"subject"`
	Environment string            `json:"environment,omitempty"` // where it was measured; empty: in no environment
	Key         string            `json:"key"`                   // "sha256:…"; runs with the same key measured the same thing
	Parameters  map[string]string `json:"parameters,omitempty"`  // what went into the key
	Started     time.Time         `json:"started"`
	Finished    time.Time         `json:"finished"`
	Status      Status            `json:"status"`
	Reason      string            `json:"reason,omitempty"` // why it is not completed
	Trust       Trust             `json:"trust"`
	Nonce       string            `json:"nonce,omitempty"` // of the call that asked for it, so that nothing older can stand for it
	Tools       map[string]string `json:"tools,omitempty"` // name → version, of what measured
	Payload     json.RawMessage   `json:"payload,omitempty"`
}

// Finding is one thing a tool complains of, with its place and what mends it.
type Finding struct {
	Tool     string `json:"tool"`
	Rule     string `json:"rule"`
	Severity string `json:"severity"` // low, medium, high
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"`
}

// Payloads of the checks. Times are seconds.

// TestsPayload is what app.yaml's test command did.
type TestsPayload struct {
	Command  []string  `json:"command"`
	ExitCode int       `json:"exit_code"`
	Passed   int       `json:"passed"`
	Failed   int       `json:"failed"`
	Skipped  int       `json:"skipped"`
	Findings []Finding `json:"findings,omitempty"` // failed tests with file:line
}

// ScanPayload is what gosec and govulncheck found in the source.
type ScanPayload struct {
	DatabaseDate   time.Time `json:"database_date"` // newest change in the vulnerability database; zero: unknown
	Files          int       `json:"files"`         // Go files that gosec read
	Modules        int       `json:"modules"`       // modules that govulncheck looked at
	High           int       `json:"high"`          // gosec findings of high severity
	Medium         int       `json:"medium"`
	Low            int       `json:"low"`
	ReachableVulns int       `json:"reachable_vulns"` // vulnerabilities with a call path
	ImportedVulns  int       `json:"imported_vulns"`  // vulnerable packages or modules without one
	Findings       []Finding `json:"findings,omitempty"`
}

// LeaksPayload is what gitleaks found in the files of the commit.
type LeaksPayload struct {
	Files    int       `json:"files"` // files of the commit that were read
	Secrets  int       `json:"secrets"`
	Findings []Finding `json:"findings,omitempty"` // never with the secret itself
}

// LoadPayload is what the load scenario measured.
type LoadPayload struct {
	Users        int             `json:"users"`
	ThinkSeconds float64         `json:"think_seconds"`
	Closed       LoadPhase       `json:"closed"`
	Open         LoadPhase       `json:"open"`
	ZeroThink    *LoadPhase      `json:"zero_think,omitempty"` // the users without think time; absent: not measured
	Knee         *LoadKnee       `json:"knee,omitempty"`       // absent: not searched for
	Checkpoint   *LoadCheckpoint `json:"checkpoint,omitempty"` // in the open model; absent: not tried
	Early        *LoadEarly      `json:"early,omitempty"`      // it might stop before its time; absent: it might not
	Restarts     *int            `json:"restarts,omitempty"`   // of instances in the phases above; absent: nobody counted
	LittleLaw    float64         `json:"little_law"`           // closed throughput × (response + think) ÷ users; 1 when the meter is sound
	Generator    GeneratorFacts  `json:"generator"`
	Synthetic    bool            `json:"synthetic"` // requests were generated, as always here
}

// LoadPhase is one model of load.
type LoadPhase struct {
	Seconds   float64          `json:"seconds"`
	Rate      float64          `json:"rate"` // requests per second
	Endpoints []EndpointFigure `json:"endpoints"`
	All       EndpointFigure   `json:"all"`
	Timeline  []TimelinePoint  `json:"timeline,omitempty"` // one a second
}

// TimelinePoint is one second of a phase.
type TimelinePoint struct {
	Second   int     `json:"second"`
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
}

// EndpointFigure are the figures of one endpoint. A request succeeds with the
// right status and the right body in less than two seconds.
type EndpointFigure struct {
	Name         string         `json:"name"`
	Requests     int64          `json:"requests"`
	Succeeded    int64          `json:"succeeded"`
	SuccessLower float64        `json:"success_lower"` // one-sided 95% Clopper-Pearson bound
	P50          float64        `json:"p50"`
	P95          float64        `json:"p95"`
	P99          float64        `json:"p99"`
	Max          float64        `json:"max"`
	P95Upper     float64        `json:"p95_upper"` // one-sided 95% bound by block bootstrap
	P99Upper     float64        `json:"p99_upper"`
	Failures     map[string]int `json:"failures,omitempty"`  // why → how many
	Histogram    string         `json:"histogram,omitempty"` // HdrHistogram V2, compressed, base64; microseconds
}

// GeneratorFacts say whether the meter was sound.
type GeneratorFacts struct {
	CPUShare      float64 `json:"cpu_share"`       // share of the machine's cores that the generator used, 0–1
	Dropped       int64   `json:"dropped"`         // requests due that were never sent
	MaxLagSeconds float64 `json:"max_lag_seconds"` // between the schedule and the start of a request
	P99LagSeconds float64 `json:"p99_lag_seconds"`
}

// UpdatePayload is what strict keep-alive clients saw while the service was
// replaced: connections are kept, nothing is retried, a connection that the
// server closes under a request counts as a failed request.
type UpdatePayload struct {
	From        string         `json:"from"` // digests
	To          string         `json:"to"`
	Rate        float64        `json:"rate"`
	Seconds     float64        `json:"seconds"`
	Requests    int64          `json:"requests"`
	Failed      int64          `json:"failed"`
	Failures    map[string]int `json:"failures,omitempty"`
	Replaced    int            `json:"replaced"`         // instances that were replaced during the measurement
	PerInstance map[string]int `json:"per_instance"`     // requests by instance, from X-Gate-Instance
	Together    int            `json:"together"`         // instances that answered while nothing was replaced, the fewest before any replacement
	Drills      []string       `json:"drills,omitempty"` // that shared the run of load
	QuietP95    float64        `json:"quiet_p95"`        // before anything was replaced
	P95         float64        `json:"p95"`
	P99         float64        `json:"p99"`
	Log         LogCount       `json:"log"` // lines of the access log
	Phases      []UpdatePhase  `json:"phases"`
	Generator   GeneratorFacts `json:"generator"`
}

// UpdatePhase is one replacement.
type UpdatePhase struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Seconds  float64 `json:"seconds"`
	Requests int64   `json:"requests"`
	Failed   int64   `json:"failed"`
}

// TLSPayload is what one real handshake showed.
type TLSPayload struct {
	Address      string    `json:"address"`
	Name         string    `json:"name"`
	Version      string    `json:"version"`     // "TLS 1.3"
	MinVersion   string    `json:"min_version"` // the oldest version that the server accepted
	ChainValid   bool      `json:"chain_valid"`
	NameValid    bool      `json:"name_valid"`
	PrivateTrust bool      `json:"private_trust"` // verified against gate's own CA
	NotAfter     time.Time `json:"not_after"`
	Issuer       string    `json:"issuer"`
	Problem      string    `json:"problem,omitempty"`
}

// ConfigPayload is what the declarations say about each other.
type ConfigPayload struct {
	Environments []string  `json:"environments"`       // that validated
	Values       int       `json:"values"`             // configuration values looked at
	Findings     []Finding `json:"findings,omitempty"` // undeclared differences, hardcoded addresses or credentials
}
