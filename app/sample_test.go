package app

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func sample(change func(*Sample)) Sample {
	s := Sample{Source: "host-1", Metric: "cpu", Time: noon, Value: 1.5}
	if change != nil {
		change(&s)
	}
	return s
}

func TestSampleValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Sample)
		field  string // of the complaint; empty: acceptable
	}{
		"plain":                      {nil, ""},
		"all allowed characters":     {func(s *Sample) { s.Source = "A9_.:/-z" }, ""},
		"longest name":               {func(s *Sample) { s.Metric = strings.Repeat("m", MaxName) }, ""},
		"first moment":               {func(s *Sample) { s.Time = MinTime }, ""},
		"negative value":             {func(s *Sample) { s.Value = -math.MaxFloat64 }, ""},
		"no source":                  {func(s *Sample) { s.Source = "" }, "source"},
		"no metric":                  {func(s *Sample) { s.Metric = "" }, "metric"},
		"name too long":              {func(s *Sample) { s.Metric = strings.Repeat("m", MaxName+1) }, "metric"},
		"name begins with a sign":    {func(s *Sample) { s.Source = "-host" }, "source"},
		"name with a zero byte":      {func(s *Sample) { s.Source = "a\x00b" }, "source"},
		"name with a line break":     {func(s *Sample) { s.Source = "a\nb" }, "source"},
		"name with invalid UTF-8":    {func(s *Sample) { s.Metric = "a\xff" }, "metric"},
		"name with a foreign letter": {func(s *Sample) { s.Metric = "größe" }, "metric"},
		"no time":                    {func(s *Sample) { s.Time = time.Time{} }, "time"},
		"before the first moment":    {func(s *Sample) { s.Time = MinTime.Add(-1) }, "time"},
		"at the end of time":         {func(s *Sample) { s.Time = MaxTime }, "time"},
		"not a number":               {func(s *Sample) { s.Value = math.NaN() }, "value"},
		"infinite":                   {func(s *Sample) { s.Value = math.Inf(-1) }, "value"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantField(t, sample(tt.change).Validate(), tt.field)
		})
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v, want a complaint about %s", err, field)
	}
	if invalid.Field != field {
		t.Fatalf("complains of %s (%v), want %s", invalid.Field, err, field)
	}
}

func TestNewBatchBounds(t *testing.T) {
	many := make([]Sample, MaxBatch+1)
	for i := range many {
		many[i] = sample(func(s *Sample) { s.Time = noon.Add(time.Duration(i) * time.Second) })
	}
	_, err := NewBatch(nil)
	wantField(t, err, "samples")
	_, err = NewBatch(many)
	wantField(t, err, "samples")
	b, err := NewBatch(many[:MaxBatch])
	wantField(t, err, "")
	if b.Accepted() != MaxBatch || len(b.Samples()) != MaxBatch {
		t.Fatalf("accepted %d, kept %d, want %d", b.Accepted(), len(b.Samples()), MaxBatch)
	}
	many[7].Metric = ""
	_, err = NewBatch(many[:10])
	wantField(t, err, "samples[7].metric")
}

func TestNewBatchKeepsTheFirstOfARepeatAndSorts(t *testing.T) {
	zone := time.FixedZone("", 3600)
	b, err := NewBatch([]Sample{
		sample(func(s *Sample) { s.Source = "z" }),
		sample(func(s *Sample) { s.Time = noon.Add(1999 * time.Nanosecond); s.Value = 1 }),
		sample(func(s *Sample) { s.Time = noon.Add(time.Microsecond).In(zone); s.Value = 2 }),
		sample(func(s *Sample) { s.Source = "a" }),
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.Accepted() != 4 {
		t.Errorf("accepted %d, want 4: a repeat is accepted too", b.Accepted())
	}
	got := b.Samples()
	if len(got) != 3 || got[0].Source != "a" || got[1].Source != "host-1" || got[2].Source != "z" {
		t.Fatalf("kept %v, want a, host-1, z", got)
	}
	if got[1].Value != 1 {
		t.Errorf("kept value %v of a repeat, want that of the first, 1", got[1].Value)
	}
	if want := noon.Add(time.Microsecond); !got[1].Time.Equal(want) || got[1].Time.Location() != time.UTC {
		t.Errorf("time is %v, want %v", got[1].Time, want)
	}
}

func TestQueryValidate(t *testing.T) {
	tests := map[string]struct {
		query Query
		field string
	}{
		"everything":         {Query{Limit: 1}, ""},
		"all fields":         {Query{"host-1", "cpu", noon, noon.Add(1), 10}, ""},
		"bad source":         {Query{Source: "%", Limit: 1}, "source"},
		"bad metric":         {Query{Metric: "'", Limit: 1}, "metric"},
		"from too early":     {Query{From: MinTime.Add(-1), Limit: 1}, "from"},
		"to too late":        {Query{To: MaxTime, Limit: 1}, "to"},
		"empty range":        {Query{From: noon, To: noon, Limit: 1}, "to"},
		"limit zero":         {Query{}, "limit"},
		"limit over the top": {Query{Limit: 11}, "limit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wantField(t, tt.query.Validate(10), tt.field) })
	}
}
