package policies

import (
	"context"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"
)

// BenchmarkDecision1000 judges among 1,000 records of which eight matter.
func BenchmarkDecision1000(b *testing.B) {
	p, in := embedded(b), crowded(b, Readiness, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if d := evaluate(b, p, in); d.Verdict != Pass {
			b.Fatalf("%+v", d)
		}
	}
}

// BenchmarkDecisionRelevant judges the eight records alone.
func BenchmarkDecisionRelevant(b *testing.B) {
	p, in := embedded(b), ready(b, Readiness)
	b.ReportAllocs()
	for b.Loop() {
		evaluate(b, p, in)
	}
}

// BenchmarkDecision1000Naive hands all 1,000 records to the engine, as anybody
// would who calls it directly.
func BenchmarkDecision1000Naive(b *testing.B) {
	p, in := embedded(b), crowded(b, Readiness, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.query.Eval(context.Background(), rego.EvalInput(in)); err != nil {
			b.Fatal(err)
		}
	}
}
