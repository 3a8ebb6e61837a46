package environments

import (
	"strings"
	"testing"
	"time"
)

func TestFrozen(t *testing.T) {
	weekend := Freeze{From: "Fri 16:00", To: "Mon 08:00", Zone: "Europe/Berlin", Reason: "weekend"}
	nights := Freeze{From: "Sat 01:30", To: "Sun 02:30", Zone: "Europe/Berlin", Reason: "clocks"}
	holidays := Freeze{From: "2026-12-23", To: "2027-01-02 06:00", Zone: "America/New_York", Reason: "holidays"}
	always := Freeze{From: "Mon 08:00", To: "Mon 08:00", Zone: "UTC", Reason: "not valid"}
	for name, c := range map[string]struct {
		windows []Freeze
		at      string
		until   string // "": not frozen; "?": nobody can tell
	}{
		"before the weekend":               {[]Freeze{weekend}, "2026-11-20T14:59:59Z", ""},
		"the weekend begins":               {[]Freeze{weekend}, "2026-11-20T15:00:00Z", "2026-11-23T07:00:00Z"},
		"in it":                            {[]Freeze{weekend}, "2026-11-22T12:00:00Z", "2026-11-23T07:00:00Z"},
		"its last second":                  {[]Freeze{weekend}, "2026-11-23T06:59:59Z", "2026-11-23T07:00:00Z"},
		"its end is outside":               {[]Freeze{weekend}, "2026-11-23T07:00:00Z", ""},
		"in summer an hour earlier":        {[]Freeze{weekend}, "2026-07-17T14:00:00Z", "2026-07-20T06:00:00Z"},
		"in summer, before":                {[]Freeze{weekend}, "2026-07-17T13:59:59Z", ""},
		"over the night of less hours":     {[]Freeze{weekend}, "2026-03-28T12:00:00Z", "2026-03-30T06:00:00Z"},
		"over the night of more hours":     {[]Freeze{weekend}, "2026-10-24T12:00:00Z", "2026-10-26T07:00:00Z"},
		"an end that clocks never show":    {[]Freeze{nights}, "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"},
		"after it":                         {[]Freeze{nights}, "2026-03-29T01:00:00Z", ""},
		"an end that clocks show twice":    {[]Freeze{nights}, "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z"},
		"a start that clocks show twice":   {[]Freeze{{From: "2026-10-25 02:30", To: "2026-10-26", Zone: "Europe/Berlin"}}, "2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z"},
		"a start that clocks never show":   {[]Freeze{{From: "2026-03-29 02:30", To: "2026-03-30", Zone: "Europe/Berlin"}}, "2026-03-29T01:00:00Z", "2026-03-29T22:00:00Z"},
		"not before they are put forward":  {[]Freeze{{From: "2026-03-29 02:30", To: "2026-03-30", Zone: "Europe/Berlin"}}, "2026-03-29T00:59:59Z", ""},
		"dates begin by the zone's clocks": {[]Freeze{holidays}, "2026-12-23T05:00:00Z", "2027-01-02T11:00:00Z"},
		"and not by ours":                  {[]Freeze{holidays}, "2026-12-23T04:59:59Z", ""},
		"windows that touch are one":       {[]Freeze{holidays, {From: "2027-01-02", To: "2027-01-04", Zone: "America/New_York"}}, "2026-12-30T00:00:00Z", "2027-01-04T05:00:00Z"},
		"within one day":                   {[]Freeze{{From: "Wed 09:00", To: "Wed 10:00", Zone: "UTC"}}, "2026-11-25T09:30:00Z", "2026-11-25T10:00:00Z"},
		"not the rest of that week":        {[]Freeze{{From: "Wed 09:00", To: "Wed 10:00", Zone: "UTC"}}, "2026-11-25T10:30:00Z", ""},
		"all of a week but an hour":        {[]Freeze{{From: "Wed 10:00", To: "Wed 09:00", Zone: "UTC"}}, "2026-11-25T08:59:00Z", "2026-11-25T09:00:00Z"},
		"and outside of that":              {[]Freeze{{From: "Wed 10:00", To: "Wed 09:00", Zone: "UTC"}}, "2026-11-25T09:30:00Z", ""},
		"the end of a day":                 {[]Freeze{{From: "Wed", To: "Wed 24:00", Zone: "UTC"}}, "2026-11-25T23:59:00Z", "2026-11-26T00:00:00Z"},
		"a day and a half ahead of UTC":    {[]Freeze{{From: "Mon 00:00", To: "Mon 01:00", Zone: "Pacific/Kiritimati"}}, "2026-11-22T10:30:00Z", "2026-11-22T11:00:00Z"},
		"for ever":                         {[]Freeze{{From: "Mon", To: "Thu", Zone: "UTC"}, {From: "Thu", To: "Mon", Zone: "UTC"}}, "2026-11-25T09:30:00Z", "?"},
		"what can't be read freezes":       {[]Freeze{always}, "2026-11-25T09:30:00Z", "?"},
		"none is declared":                 {nil, "2026-11-25T09:30:00Z", ""},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		by, until := Frozen(c.windows, at)
		got := ""
		switch {
		case by != nil && until.IsZero():
			got = "?"
		case by != nil:
			got = until.UTC().Format(time.RFC3339)
		}
		if got != c.until {
			t.Errorf("%s: frozen until %q, want %q", name, got, c.until)
		}
	}
}

// TestFrozenAgreesWithTheClocks compares with what the zone's clocks show, minute
// by minute, over a year of two zones that put them forward at other times.
func TestFrozenAgreesWithTheClocks(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		w := []Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: zone}}
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(7 * time.Minute) {
			in := at.In(loc)
			minute := in.Hour()*60 + in.Minute()
			want := in.Weekday() == time.Saturday || in.Weekday() == time.Sunday || in.Weekday() == time.Friday && minute >= 16*60 || in.Weekday() == time.Monday && minute < 8*60
			if by, _ := Frozen(w, at); (by != nil) != want {
				t.Fatalf("%s: frozen is %v, want %v", in, by != nil, want)
			}
		}
	}
}

func TestPromotionOfPeopleIsValidated(t *testing.T) {
	for say, p := range map[string]Promotion{
		`zone "Mars/Base" is not known`:   {Freeze: []Freeze{{From: "Fri", To: "Mon", Zone: "Mars/Base", Reason: "x"}}},
		`says nothing to another machine`: {Freeze: []Freeze{{From: "Fri", To: "Mon", Zone: "Local", Reason: "x"}}},
		`"Freitag" is no time`:            {Freeze: []Freeze{{From: "Freitag", To: "Mon", Zone: "UTC", Reason: "x"}}},
		`"2026-02-30" is no day`:          {Freeze: []Freeze{{From: "2026-02-30", To: "2026-03-01", Zone: "UTC", Reason: "x"}}},
		`behind the end of its day`:       {Freeze: []Freeze{{From: "Fri 24:01", To: "Mon", Zone: "UTC", Reason: "x"}}},
		`the other of one date`:           {Freeze: []Freeze{{From: "Fri", To: "2026-03-01", Zone: "UTC", Reason: "x"}}},
		`is not before`:                   {Freeze: []Freeze{{From: "2026-03-02", To: "2026-03-01", Zone: "UTC", Reason: "x"}}},
		`is no time at all`:               {Freeze: []Freeze{{From: "Fri", To: "Fri 00:00", Zone: "UTC", Reason: "x"}}},
		`freeze[0].reason is empty`:       {Freeze: []Freeze{{From: "Fri", To: "Mon", Zone: "UTC"}}},
		`approvals.required is 0`:         {Approvals: &Approvals{}},
		`pace bounds nothing`:             {Pace: &Pace{}},
		`and per go together`:             {Pace: &Pace{Promotions: 3}},
		`promotion.drift is "mend"`:       {Drift: "mend"},
		`promotion.degraded is "block"`:   {Degraded: "block"},
	} {
		v := &validator{}
		v.people(&Environment{Promotion: p})
		if len(v.problems) == 0 || !strings.Contains(v.problems.Error(), say) {
			t.Errorf("want %q, got %v", say, v.problems)
		}
	}
	v := &validator{}
	v.people(&Environment{Promotion: Promotion{
		Freeze: []Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: "Europe/Berlin", Reason: "weekend"}}, Approvals: &Approvals{Required: 2, NotAuthor: true},
		Pace: &Pace{Pause: 1, Promotions: 4, Per: 1}, Drift: Reconcile, Degraded: HoldNext,
	}})
	if len(v.problems) > 0 {
		t.Error(v.problems)
	}
}
