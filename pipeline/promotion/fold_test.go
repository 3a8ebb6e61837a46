package promotion

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/target"
)

// log makes items as a ledger would give them.
type log struct {
	t     testing.TB
	items []Item
}

func anybody(string, string) bool { return true }

func nobody(string, string) bool { return false }

func (l *log) add(typ string, predicate any, may func(action, environment string) bool) string {
	b, err := json.Marshal(predicate)
	must(l.t, err)
	seq := int64(len(l.items))
	d := fmt.Sprintf("sha256:item-%04d", seq)
	l.items = append(l.items, Item{Seq: seq, Digest: d, Type: typ, Predicate: b, Signers: []string{"ann"}, May: may})
	return d
}

func (l *log) release(c byte, change ...func(*ReleaseRecord)) string {
	return l.add(ReleaseType, releaseRecord(c, change...), anybody)
}

// promotion adds a whole one of the record: begun, the steps, ended.
func (l *log) promotion(request, record string, c byte, state State, steps ...Step) {
	token := l.begin(request, record, c)
	for _, s := range steps {
		l.step(request, record, c, token, s, Running)
	}
	l.step(request, record, c, token, End, state)
}

func (l *log) begin(request, record string, c byte) int64 {
	token := int64(len(l.items))
	l.step(request, record, c, 0, Begin, Running)
	return token
}

func (l *log) step(request, record string, c byte, token int64, step Step, state State) {
	l.add(TransitionType, Transition{
		Request: request, Kind: Promote, Environment: "production", Record: record, Release: digest(c), Token: token, Step: step, State: state,
	}, anybody)
}

// rollback adds a whole one to the record.
func (l *log) rollback(request, record string, c byte) {
	l.add(TransitionType, Transition{
		Request: request, Kind: Rollback, Environment: "production", Record: record, Release: digest(c), Step: End, State: Succeeded,
	}, anybody)
}

func (l *log) fold() *View {
	l.t.Helper()
	v := NewView()
	for _, it := range l.items {
		must(l.t, v.Apply(it))
	}
	return v
}

func TestFold(t *testing.T) {
	type want struct {
		Desired, Previous, PreviousRecord, Active, Reached string
		History                                            []State
		Consumed                                           string
		Hold, Served, Begun                                bool
	}
	cases := map[string]struct {
		log  func(l *log)
		want want
	}{
		"nothing": {func(*log) {}, want{Previous: digest('c')}},
		"a release alone changes nothing": {
			func(l *log) { l.release('c') },
			want{Previous: digest('c')},
		},
		"begun": {
			func(l *log) { l.begin("r1", l.release('c'), 'c') },
			want{Active: "r1", Reached: "begin", Previous: digest('c'), Begun: true},
		},
		"in the middle": {
			func(l *log) {
				c := l.release('c')
				l.step("r1", c, 'c', l.begin("r1", c, 'c'), Analyse, Running)
			},
			want{Active: "r1", Reached: "analyse", Previous: digest('c'), Begun: true},
		},
		"a withdrawal does not reach further": {
			func(l *log) {
				c := l.release('c')
				token := l.begin("r1", c, 'c')
				l.step("r1", c, 'c', token, Soak, Running)
				l.step("r1", c, 'c', token, Withdraw, Running)
			},
			want{Active: "r1", Reached: "soak", Previous: digest('c'), Begun: true},
		},
		"succeeded": {
			func(l *log) { l.promotion("r1", l.release('c'), 'c', Succeeded, Migrate, Complete, Retire) },
			want{Desired: "item-0000", Consumed: "r1", History: []State{Succeeded}, Previous: digest('c'), Served: true, Begun: true},
		},
		"rolled back": {
			func(l *log) { l.promotion("r1", l.release('c'), 'c', RolledBack, Migrate, Canary, Withdraw) },
			want{Consumed: "r1", History: []State{RolledBack}, Previous: digest('c'), Begun: true},
		},
		"refused without having begun": {
			func(l *log) { l.step("r1", l.release('c'), 'c', 0, End, Refused) },
			want{Consumed: "r1", History: []State{Refused}, Previous: digest('c')},
		},
		"served already": {
			func(l *log) { l.step("r1", l.release('c'), 'c', 0, End, Succeeded) },
			want{Desired: "item-0000", Consumed: "r1", History: []State{Succeeded}, Previous: digest('c'), Served: true, Begun: true},
		},
		"A, B, A": {
			func(l *log) {
				a, b := l.release('c'), l.release('b')
				l.promotion("r1", a, 'c', Succeeded)
				l.promotion("r2", b, 'b', Succeeded)
				l.promotion("r3", a, 'c', Succeeded)
			},
			want{Desired: "item-0000", Previous: digest('b'), PreviousRecord: "item-0001", Consumed: "r1 r2 r3", History: []State{Succeeded, Succeeded, Succeeded}, Served: true, Begun: true},
		},
		"what failed is not what was before": {
			func(l *log) {
				a, b, c := l.release('a'), l.release('b'), l.release('c')
				l.promotion("r1", a, 'a', Succeeded)
				l.promotion("r2", b, 'b', RolledBack)
				l.promotion("r3", c, 'c', Succeeded)
			},
			want{Desired: "item-0002", Previous: digest('a'), PreviousRecord: "item-0000", Consumed: "r1 r2 r3", History: []State{Succeeded, RolledBack, Succeeded}, Served: true, Begun: true},
		},
		"another commit of the same revision is nothing to go back to": {
			func(l *log) {
				a, b := l.release('c'), l.release('c', func(r *ReleaseRecord) { r.Commit = commitOf('d') })
				l.promotion("r1", a, 'c', Succeeded)
				l.promotion("r2", b, 'c', Succeeded)
			},
			want{Desired: "item-0001", Previous: digest('c'), Consumed: "r1 r2", History: []State{Succeeded, Succeeded}, Served: true, Begun: true},
		},
		"another configuration is": {
			func(l *log) {
				a := l.release('c')
				b := l.release('c', func(r *ReleaseRecord) { r.Declarations.Environment("production").Config["LOG_LEVEL"] = "debug" })
				l.promotion("r1", a, 'c', Succeeded)
				l.promotion("r2", b, 'c', Succeeded)
			},
			want{Desired: "item-0001", Previous: digest('c'), PreviousRecord: "item-0000", Consumed: "r1 r2", History: []State{Succeeded, Succeeded}, Served: true, Begun: true},
		},
		"held": {
			func(l *log) { l.add(HoldType, Hold{Environment: "production", Reason: "freeze"}, anybody) },
			want{Hold: true, Previous: digest('c')},
		},
		"held and lifted": {
			func(l *log) {
				l.add(HoldType, Hold{Environment: "production", Reason: "freeze"}, anybody)
				l.add(HoldType, Hold{Environment: "production"}, anybody)
			},
			want{Previous: digest('c')},
		},
		"another environment's": {
			func(l *log) {
				l.add(HoldType, Hold{Environment: "staging", Reason: "freeze"}, anybody)
				l.add(TransitionType, Transition{Request: "r1", Environment: "staging", Record: l.release('c'), Release: digest('c'), Step: End, State: Succeeded}, anybody)
			},
			want{Previous: digest('c')},
		},
		"strangers are not heard": {
			func(l *log) {
				l.add(ReleaseType, releaseRecord('c'), nobody)
				l.add(HoldType, Hold{Environment: "production", Reason: "freeze"}, nobody)
				l.add(TransitionType, Transition{Request: "r1", Environment: "production", Release: digest('c'), Step: End, State: Succeeded}, nobody)
			},
			want{Previous: digest('c')},
		},
		"those who may only measure move nothing": {
			func(l *log) {
				measure := func(action, _ string) bool { return action == ledger.Measure }
				l.add(HoldType, Hold{Environment: "production", Reason: "freeze"}, measure)
				l.add(TransitionType, Transition{Request: "r1", Environment: "production", Release: digest('c'), Step: Begin}, measure)
			},
			want{Previous: digest('c')},
		},
		"a daemon of one environment moves that one only": {
			func(l *log) {
				own := func(action, environment string) bool { return action == ledger.Daemon && environment == "staging" }
				l.add(TransitionType, Transition{Request: "r1", Environment: "production", Release: digest('c'), Step: Begin}, own)
				l.add(TransitionType, Transition{Request: "r1", Environment: "staging", Release: digest('c'), Step: Begin}, own)
			},
			want{Previous: digest('c')},
		},
		"the second to begin has not": {
			func(l *log) {
				c := l.release('c')
				l.begin("r1", c, 'c')
				l.begin("r2", c, 'c')
			},
			want{Active: "r1", Reached: "begin", Previous: digest('c'), Begun: true},
		},
		"who was overtaken is not heard": {
			func(l *log) {
				a, c := l.release('a'), l.release('c')
				old := l.begin("r1", a, 'a')
				l.step("r1", a, 'a', old, End, RolledBack) // by another process
				token := l.begin("r2", c, 'c')
				l.step("r1", a, 'a', old, Complete, Running)
				l.step("r1", a, 'a', old, End, Succeeded)
				l.step("r2", c, 'c', token-1, Complete, Running)
			},
			want{Active: "r2", Reached: "begin", Consumed: "r1", History: []State{RolledBack}, Previous: digest('c'), Begun: true},
		},
		"a request is consumed once": {
			func(l *log) {
				c := l.release('c')
				l.step("r1", c, 'c', 0, End, Refused)
				l.begin("r1", c, 'c')
				l.step("r1", c, 'c', 0, End, Succeeded)
			},
			want{Consumed: "r1", History: []State{Refused}, Previous: digest('c')},
		},
		"what is not known is passed over": {
			func(l *log) { l.add("https://example.org/later/v9", []int{1}, anybody) },
			want{Previous: digest('c')},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := &log{t: t}
			c.log(l)
			v := l.fold()
			e := v.Environment("production")
			record := v.recordOf("", digest('c'), "")
			got := want{
				Desired: strings.TrimPrefix(e.Desired, "sha256:"), Previous: v.Previous("production", digest('c')),
				PreviousRecord: strings.TrimPrefix(v.PreviousRecord("production"), "sha256:"),
				Reached:        string(e.Reached), Hold: e.Hold != nil, Served: v.Served("production", record), Begun: e.Begun(),
			}
			if e.Active != nil {
				got.Active = e.Active.Request
				if e.Active.Token == 0 && e.Active.Step != Begin {
					t.Error("the promotion under way has no token")
				}
			}
			for _, h := range e.History {
				got.History = append(got.History, h.State)
			}
			for _, r := range []string{"r1", "r2", "r3"} {
				if e.Consumed[r] != nil {
					got.Consumed = strings.TrimSpace(got.Consumed + " " + r)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if int(v.Seq) != len(l.items)-1 {
				t.Errorf("folded to %d of %d", v.Seq, len(l.items)-1)
			}
		})
	}
}

func TestFoldTokenIsTheBeginEntry(t *testing.T) {
	l := &log{t: t}
	c := l.release('c')
	l.add(TransitionType, Transition{Request: "r1", Environment: "production", Record: c, Token: 999, Step: Begin}, anybody)
	if got := l.fold().Environment("production").Active.Token; got != 1 {
		t.Errorf("token %d, want 1: the entry's place, whatever it says itself", got)
	}
}

// TestFoldOperations: what a daemon did by itself is heard in its order, where it
// may speak, and moves nothing.
func TestFoldOperations(t *testing.T) {
	l := &log{t: t}
	daemon := func(action, environment string) bool { return action == ledger.Daemon && environment == "staging" }
	add := func(environment string, may func(action, environment string) bool, what ...string) {
		o := Operations{Environment: environment}
		for _, w := range what {
			o.Operations = append(o.Operations, target.Operation{Kind: target.Scaling, What: w})
		}
		l.add(OperationsType, o, may)
	}
	add("staging", daemon, "a", "b")
	add("production", daemon, "another's")
	add("staging", nobody, "a stranger's")
	before := l.fold()
	add("staging", daemon, "c")
	v := before.clone()
	must(t, v.Apply(l.items[len(l.items)-1]))
	var got []string
	for _, o := range v.Environment("staging").Operations {
		got = append(got, o.What)
	}
	if s := v.Environment("staging"); strings.Join(got, "") != "abc" || s.Begun() || s.Desired != "" || len(v.Environment("production").Operations) > 0 {
		t.Errorf("%v %+v", got, s)
	}
	if n := len(before.Environment("staging").Operations); n != 2 {
		t.Errorf("an older view has %d operations, want 2", n)
	}
}

func TestFoldRefusesWhatItShouldKnow(t *testing.T) {
	for _, typ := range []string{ReleaseType, DecisionType, checks.EvidenceType, TransitionType, HoldType, OperationsType} {
		v := NewView()
		err := v.Apply(Item{Seq: 0, Digest: "sha256:x", Type: typ, Predicate: json.RawMessage(`[`), May: anybody})
		if err == nil || v.Seq != -1 {
			t.Errorf("%s: error %v, folded to %d: half a state is a wrong one", typ, err, v.Seq)
		}
	}
}

func TestFoldIsNotChangedByLaterFolds(t *testing.T) {
	l := &log{t: t}
	a := l.release('a')
	for range 3 { // so that the slice has room that two could write into
		l.add(checks.EvidenceType, checks.Evidence{Key: "k", Reason: "one"}, anybody)
	}
	l.promotion("r1", a, 'a', Succeeded)
	l.begin("r2", a, 'a')
	v := l.fold()
	before, err := json.Marshal(v)
	must(t, err)
	older, runs := v.Newest(), len(v.Evidence("k"))

	next := &log{t: t, items: l.items}
	b := next.release('b')
	next.add(checks.EvidenceType, checks.Evidence{Key: "k", Reason: "two"}, anybody)
	next.add(DecisionType, map[string]any{"decision": map[string]any{"decision": "sha256:d"}}, anybody)
	next.add(HoldType, Hold{Environment: "production", Reason: "freeze"}, anybody)
	next.step("r2", a, 'a', int64(len(l.items)-1), End, Failed)
	next.promotion("r3", b, 'b', Succeeded)
	// Two descendants of one view: neither may write into what the other reads.
	one, two := v.clone(), v.clone()
	for _, it := range next.items[len(l.items):] {
		must(t, one.Apply(it))
	}
	must(t, two.Apply(Item{Seq: v.Seq + 1, Digest: "sha256:other", Type: checks.EvidenceType, Predicate: json.RawMessage(`{"key":"k","reason":"other"}`), May: anybody}))

	after, err := json.Marshal(v)
	must(t, err)
	if string(before) != string(after) || v.Newest() != older || len(v.Evidence("k")) != runs {
		t.Errorf("the view changed:\n%s\n%s", before, after)
	}
	if got := one.Evidence("k")[3].Evidence.Reason; got != "two" {
		t.Errorf("a sibling's fold wrote %q", got)
	}
	if one.Environment("production").Desired != b || one.Newest() != b || one.Environment("production").Hold == nil {
		t.Error("the later view lacks what came later")
	}
}

func TestFailedThere(t *testing.T) {
	l := &log{t: t}
	a := l.release('a')
	l.promotion("r1", a, 'a', RolledBack)
	if f := l.fold().FailedThere("production", digest('a')); f == nil || f.Request != "r1" {
		t.Errorf("got %+v, want the rollback", f)
	}
	l.step("r2", a, 'a', 0, End, Refused)
	if f := l.fold().FailedThere("production", digest('a')); f == nil {
		t.Error("a refusal made the rollback forgotten")
	}
	if f := l.fold().FailedThere("production", digest('b')); f != nil {
		t.Errorf("another release: %+v", f)
	}
	l.promotion("r3", a, 'a', Succeeded)
	if f := l.fold().FailedThere("production", digest('a')); f != nil {
		t.Errorf("it has succeeded since: %+v", f)
	}
	// Nor is one forgotten that somebody has gone back from.
	b := l.release('b')
	l.promotion("r4", b, 'b', Succeeded)
	if f := l.fold().FailedThere("production", digest('b')); f != nil {
		t.Errorf("it serves: %+v", f)
	}
	l.rollback("r5", a, 'a')
	v := l.fold()
	if f := v.FailedThere("production", digest('b')); f == nil || f.Request != "r5" {
		t.Errorf("got %+v, want the rollback by a person", f)
	}
	if f := v.FailedThere("production", digest('a')); f != nil {
		t.Errorf("what was gone back to: %+v", f)
	}
}

func TestFind(t *testing.T) {
	l := &log{t: t}
	a := l.release('a')
	b := l.release('b')
	again := l.release('a', func(r *ReleaseRecord) { r.Commit = commitOf('d') })
	v := l.fold()
	for ref, want := range map[string][]string{
		digest('a'):                  {again, a},
		digest('a')[:15]:             {again, a}, // sha256: and eight digits
		strings.Repeat("a", 12):      {again, a},
		commitOf('d'):                {again},
		commitOf('d')[:8]:            {again},
		commitOf('d')[:7]:            nil, // too short to mean anything
		b:                            {b},
		"":                           nil,
		"sha256:":                    nil,
		digest('c'):                  nil,
		digest('a') + "a":            nil,
		strings.ToUpper(digest('a')): nil,
	} {
		if d := cmp.Diff(want, v.Find(ref)); d != "" {
			t.Errorf("Find(%q): %s", ref, d)
		}
	}
	if v.Newest() != again {
		t.Errorf("newest is %s, want %s", v.Newest(), again)
	}
}

func TestServedIsOfTheConfigurationToo(t *testing.T) {
	l := &log{t: t}
	a := l.release('a')
	other := l.release('a', func(r *ReleaseRecord) { r.Declarations.Environment("production").Listen = "127.0.0.1:1" })
	same := l.release('a', func(r *ReleaseRecord) { r.Commit = commitOf('d') })
	gone := l.release('a', func(r *ReleaseRecord) { r.Declarations.Environments = r.Declarations.Environments[:1] })
	l.promotion("r1", a, 'a', Succeeded)
	v := l.fold()
	for record, want := range map[string]bool{a: true, same: true, other: false, gone: false, "": false, "sha256:none": false} {
		if got := v.Served("production", record); got != want {
			t.Errorf("Served(%q) = %v, want %v", record, got, want)
		}
	}
	if v.Served("staging", a) {
		t.Error("served where it never was")
	}
	if got := v.servedRecordOf("production", digest('a'), ""); got != same {
		t.Errorf("newest record that served is %s, want %s", got, same)
	}
}

var sameRecords = cmp.Comparer(func(a, b *ReleaseRecord) bool { return same(a, b) })

// TestFoldInPieces: wherever the ledger is cut, folding on gives what folding
// at once gives, whatever nonsense it holds.
func TestFoldInPieces(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l := &log{t: t}
		record := l.release('a')
		steps := []Step{Begin, Migrate, Canary, Analyse, Complete, Soak, Retire, Withdraw, End}
		for range rapid.IntRange(0, 40).Draw(r, "n") {
			may := anybody
			if rapid.IntRange(0, 9).Draw(r, "stranger") == 0 {
				may = nobody
			}
			switch rapid.IntRange(0, 5).Draw(r, "kind") {
			case 0:
				l.add(ReleaseType, releaseRecord("abc"[rapid.IntRange(0, 2).Draw(r, "release")]), may)
			case 1:
				l.add(HoldType, Hold{Environment: "production", Reason: rapid.SampledFrom([]string{"", "x"}).Draw(r, "reason")}, may)
			case 2:
				l.add(checks.EvidenceType, checks.Evidence{Key: rapid.SampledFrom([]string{"k1", "k2"}).Draw(r, "key")}, may)
			default:
				l.add(TransitionType, Transition{
					Request: rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(r, "request"), Environment: "production", Record: record,
					Release: digest('a'), Step: rapid.SampledFrom(steps).Draw(r, "step"), Token: int64(rapid.IntRange(0, 12).Draw(r, "token")),
					State: rapid.SampledFrom([]State{Succeeded, Failed, RolledBack}).Draw(r, "state"), At: time.Unix(1, 0),
				}, may)
			}
		}
		whole := l.fold()
		pieces := NewView()
		for _, it := range l.items {
			if rapid.Bool().Draw(r, "cut") {
				pieces = pieces.clone()
			}
			must(t, pieces.Apply(it))
			// What is folded already changes nothing.
			must(t, pieces.Apply(it))
		}
		if d := cmp.Diff(whole, pieces, cmp.AllowUnexported(View{}), cmpopts.EquateEmpty(), sameRecords); d != "" {
			r.Fatal(d)
		}
		e := whole.Environment("production")
		if e.Active != nil && e.Consumed[e.Active.Request] != nil {
			r.Fatalf("%s is under way and has ended", e.Active.Request)
		}
		if len(e.History) != len(e.Consumed) {
			r.Fatalf("%d ends of %d requests", len(e.History), len(e.Consumed))
		}
	})
}
