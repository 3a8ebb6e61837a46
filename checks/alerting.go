package checks

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AlertingPayload is what came of a drill of the alerts. Times are seconds from
// the beginning of the drill's fault, or test alarm, unless said otherwise;
// -1 means that it did not happen while the drill lasted.
type AlertingPayload struct {
	// Mode is fault (instances were stopped) or test (an alarm that says it is
	// none, where people use the service).
	Mode string `json:"mode"`
	// Routes are the declared ones that were tried, each with its receipt.
	Routes []AlertingRoute `json:"routes"`
	// LocalOnly: nobody beyond this machine is told.
	LocalOnly bool `json:"local_only"`
	// Receipt is until the last route has a receipt for the alert, Recovery from
	// the end of the fault until the last one has it for the recovery notice.
	Receipt  float64 `json:"receipt"`
	Recovery float64 `json:"recovery"`
	// Lead is from the receipt of the warning about the filling folder until it
	// was full, Ramp how long it took to fill; 0: with mode test nothing is filled.
	Lead float64 `json:"lead"`
	Ramp float64 `json:"ramp"`
	// Heartbeat says whether one is declared, or heard by the drill; Beats how many
	// were taken meanwhile.
	Heartbeat bool     `json:"heartbeat"`
	Beats     int      `json:"beats"`
	Fired     []string `json:"fired"`    // all alerts that fired meanwhile
	Restored  bool     `json:"restored"` // the service answers again
	Queued    int      `json:"queued"`   // messages left undelivered
}

// AlertingRoute is what one route did. Receipt and Recovery are -1 where none
// came.
type AlertingRoute struct {
	Route    string  `json:"route"`
	Receipt  float64 `json:"receipt"`
	Recovery float64 `json:"recovery"`
	// Proof is arrived: the drill itself is the receiving end, and has it whole;
	// or accepted: the last hop that gate speaks to has said that it takes it.
	Proof string `json:"proof"`
	Said  string `json:"said"`
}

// Proofs.
const (
	ProofArrived  = "arrived"
	ProofAccepted = "accepted"
)

const (
	alertingFault = time.Minute
	alertingRamp  = 8 * time.Second
	alertingLook  = 100 * time.Millisecond
	// alertingNotices is how long the drill waits for what follows the fault.
	alertingNotices = 30 * time.Second
)

// Alerting makes every instance hang, as it may happen, and waits until people
// have been told on the real routes, then until they are told that it is over. A
// folder fills up meanwhile, of which there must be a warning before it is full.
// In an environment that is promoted into, where people are, it sends a test
// alarm over the same routes.
func Alerting() Check {
	return Check{
		Name:      "alerting",
		Criterion: "alerting",
		Version:   1,
		Scope:     OfEnvironment,
		InEnv:     true,
		Title:     "From a fault to people who know of it",
		Parameters: func(in Input) map[string]string {
			fault, ramp := alertingTimes(in)
			return map[string]string{"fault": fault.String(), "ramp": ramp.String(), "mode": alertingMode(in)}
		},
		Estimate: func(in Input) time.Duration {
			_, ramp := alertingTimes(in)
			return ramp + 2*time.Second
		},
		Measure: alertingMeasure,
		Pool:    func(payloads [][]byte) ([]byte, error) { return poolWorst(payloads, alertingWorse) },
	}
}

func alertingTimes(in Input) (fault, ramp time.Duration) {
	if in.Declarations != nil && in.Declarations.App != nil {
		fault, ramp = in.Declarations.App.Alerting.Fault.D(), in.Declarations.App.Alerting.Ramp.D()
	}
	return cmp.Or(fault, alertingFault), cmp.Or(ramp, alertingRamp)
}

func alertingMode(in Input) string {
	if in.Environment != nil && in.Environment.Promotion.From != "" {
		return "test"
	}
	return "fault"
}

// alertingDrill is one under way.
type alertingDrill struct {
	Input
	target   Alarmer
	sink     *alertingSink
	exercise Exercise
	before   Watch
	began    time.Time // of the fault
	ended    time.Time // of the fault; zero: it goes on
	watch    Watch     // newest
	fired    map[string]bool
	warned   time.Time // about the ramp, with a receipt on every route
	full     time.Time
	beats    map[time.Time]bool
}

func alertingMeasure(ctx context.Context, in Input) (Measurement, error) {
	target, ok := in.Target.(Alarmer)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment does not watch over it"}, nil
	}
	routes := in.Environment.Alerts.Routes()
	if len(routes) == 0 {
		return Measurement{Status: Unavailable, Reason: "nobody is told: " + in.Environment.At("alerts") + " declares no alerts; declare alerts: with smtp or webhook (docs/alerts.md)"}, nil
	}
	sink, err := openAlertingSink(ctx)
	if err != nil {
		return Measurement{}, fmt.Errorf("receiving end of the drill: %w", err)
	}
	defer sink.close()
	fault, ramp := alertingTimes(in)
	d := &alertingDrill{Input: in, target: target, sink: sink, fired: map[string]bool{}, beats: map[time.Time]bool{}}
	d.exercise = Exercise{ID: strings.ToLower(rand.Text()[:12]), Limit: fault, Test: alertingMode(in) == "test"}
	if !d.exercise.Test {
		d.exercise.Fault, d.exercise.Ramp = true, ramp
	}
	if in.Environment.Alerts.Local {
		d.exercise.Mail = sink.mails.Addr().String()
	}
	if in.Environment.Alerts.Heartbeat == nil && in.Environment.Alerts.Local {
		d.exercise.Beat = "http://" + sink.beats.Addr().String()
	}
	if reason, err := d.sound(ctx); err != nil || reason != "" {
		return Measurement{Status: Invalid, Reason: reason}, err
	}
	d.began = time.Now()
	if err := target.Alarm(ctx, d.exercise); err != nil {
		return Measurement{}, fmt.Errorf("begin the exercise: %w", err)
	}
	defer func() {
		// Whatever happens here; the target would end it by itself as well.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = target.Relieve(after)
	}()
	if err := d.follow(ctx); err != nil {
		return Measurement{}, err
	}
	return Measurement{Status: Completed, Tools: loadTools(), Payload: d.payload()}, nil
}

// sound waits until the watch looks at a healthy environment: an alert that
// fires already would be taken for the drill's. It waits no longer than the fault
// may last.
func (d *alertingDrill) sound(ctx context.Context) (string, error) {
	deadline := time.Now().Add(min(15*time.Second, d.exercise.Limit))
	for {
		w, err := d.target.Watch(ctx)
		if err != nil {
			return "", err
		}
		d.before = w
		reason := ""
		i := slices.IndexFunc(w.Firing, func(f FiringAlert) bool { return f.Alert == d.alert() })
		switch {
		case w.Looked.IsZero() || time.Since(w.Looked) > 10*time.Second:
			reason = "the watch over the environment does not look"
		case w.Exercise != "":
			reason = "exercise " + w.Exercise + " is under way"
		case i >= 0:
			reason = "the environment is not well: " + w.Firing[i].Summary
		case !slices.Equal(w.Routes, d.Environment.Alerts.Routes()):
			reason = "the watch tells by " + strings.Join(w.Routes, ", ") + ", and by " + strings.Join(d.Environment.Alerts.Routes(), ", ") + " is declared"
		default:
			return "", nil
		}
		if time.Now().After(deadline) {
			return reason, nil
		}
		if err := pause(ctx, alertingLook); err != nil {
			return "", err
		}
	}
}

// alert is the one that the drill provokes.
func (d *alertingDrill) alert() string {
	if d.exercise.Test {
		return "test"
	}
	return "unavailable"
}

// follow looks until all that is waited for has come, or there is no time left.
// The fault is ended as soon as everybody knows of it.
func (d *alertingDrill) follow(ctx context.Context) error {
	notices := min(alertingNotices, d.exercise.Limit)
	for {
		w, err := d.target.Watch(ctx)
		if err != nil {
			return err
		}
		d.watch = w
		for _, f := range w.Firing {
			d.fired[f.Alert] = true
		}
		for _, r := range w.Receipts {
			if r.Exercise == d.exercise.ID {
				d.fired[r.Alert] = true
			}
		}
		if w.Beat != nil && w.Beat.Sent.After(d.began) {
			d.beats[w.Beat.Sent] = true
		}
		if d.warned.IsZero() {
			d.warned = d.all("disk", "firing")
		}
		if !w.RampLimit.IsZero() {
			d.full = w.RampLimit
		}
		told := !d.all(d.alert(), "firing").IsZero()
		filled := d.exercise.Ramp == 0 || !d.full.IsZero()
		switch {
		case d.ended.IsZero() && told && d.exercise.Test:
			d.ended = d.all(d.alert(), "firing")
		case d.ended.IsZero() && told && filled, d.ended.IsZero() && time.Since(d.began) > d.exercise.Limit:
			d.Note("told; the fault is ended")
			if err := d.target.Relieve(ctx); err != nil {
				return err
			}
			d.ended = time.Now()
		}
		if !d.ended.IsZero() && (!d.all(d.alert(), "resolved").IsZero() && w.Queued == 0 && d.settled() && d.heard() || time.Since(d.ended) > notices) {
			return nil
		}
		if err := pause(ctx, alertingLook); err != nil {
			return err
		}
	}
}

// heard says whether the heartbeat came, if there is one.
func (d *alertingDrill) heard() bool {
	switch {
	case d.exercise.Beat != "":
		return d.sink.beatCount() > 0
	case d.Environment.Alerts.Heartbeat != nil:
		return len(d.beats) > 0
	}
	return true
}

// settled says whether nothing that the drill has raised still fires.
func (d *alertingDrill) settled() bool {
	return !slices.ContainsFunc(d.watch.Firing, func(f FiringAlert) bool { return f.Since.After(d.began) && f.Alert == d.alert() })
}

// all is when the last route had a receipt; zero: one has none.
func (d *alertingDrill) all(alert, state string) time.Time {
	var last time.Time
	for _, route := range d.before.Routes {
		at, _, _ := d.receipt(route, alert, state)
		if at.IsZero() {
			return at
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// receipt is what proves that the route has delivered. What the drill itself
// receives counts once it is there, whatever the sender believes.
func (d *alertingDrill) receipt(route, alert, state string) (at time.Time, proof, said string) {
	if route == "local" {
		m, ok := d.sink.find(d.exercise.ID, alert, state)
		if !ok {
			return time.Time{}, ProofArrived, ""
		}
		return m.at, ProofArrived, "mail " + m.id + " at the drill's own mail server"
	}
	for _, r := range d.watch.Receipts {
		if r.Route == route && r.Alert == alert && r.State == state && r.Exercise == d.exercise.ID {
			return r.Accepted, ProofAccepted, r.Said
		}
	}
	return time.Time{}, ProofAccepted, ""
}

func (d *alertingDrill) payload() AlertingPayload {
	p := AlertingPayload{
		Mode: alertingMode(d.Input), Receipt: -1, Recovery: -1, Ramp: d.exercise.Ramp.Seconds(), Fired: []string{},
		Queued: d.watch.Queued, Restored: d.exercise.Test || d.settled(), Routes: []AlertingRoute{},
	}
	p.LocalOnly = len(d.before.Routes) == 1 && d.before.Routes[0] == "local"
	since := func(t, from time.Time) float64 {
		if t.IsZero() {
			return -1
		}
		return max(t.Sub(from).Seconds(), 0)
	}
	p.Receipt = since(d.all(d.alert(), "firing"), d.began)
	p.Recovery = since(d.all(d.alert(), "resolved"), d.ended)
	for _, route := range d.before.Routes {
		at, proof, said := d.receipt(route, d.alert(), "firing")
		over, _, _ := d.receipt(route, d.alert(), "resolved")
		p.Routes = append(p.Routes, AlertingRoute{Route: route, Receipt: since(at, d.began), Recovery: since(over, d.ended), Proof: proof, Said: said})
	}
	if d.exercise.Ramp > 0 {
		p.Lead = -1
		if !d.warned.IsZero() && d.full.After(d.warned) {
			p.Lead = d.full.Sub(d.warned).Seconds()
		}
	}
	p.Heartbeat = d.Environment.Alerts.Heartbeat != nil
	p.Beats = len(d.beats)
	if d.exercise.Beat != "" {
		p.Heartbeat, p.Beats = true, d.sink.beatCount()
	} else if b := d.watch.Beat; b != nil && p.Beats == 0 && time.Since(b.Sent) < 2*time.Minute {
		p.Beats = 1 // it comes once a minute, and the drill is shorter
	}
	for a := range d.fired {
		p.Fired = append(p.Fired, a)
	}
	slices.Sort(p.Fired)
	return p
}

// alertingWorse keeps the worse of each figure. What did not happen is worse
// than anything that did.
func alertingWorse(a, b AlertingPayload) AlertingPayload {
	late := func(x, y float64) float64 {
		if x < 0 || y < 0 {
			return -1
		}
		return max(x, y)
	}
	w := b
	if a.Receipt < 0 || b.Receipt >= 0 && a.Receipt > b.Receipt {
		w.Routes = a.Routes
	}
	w.LocalOnly = a.LocalOnly || b.LocalOnly
	w.Receipt, w.Recovery = late(a.Receipt, b.Receipt), late(a.Recovery, b.Recovery)
	w.Lead = min(a.Lead, b.Lead)
	w.Heartbeat, w.Beats = a.Heartbeat && b.Heartbeat, min(a.Beats, b.Beats)
	w.Fired = alertingUnion(a.Fired, b.Fired)
	w.Restored, w.Queued = a.Restored && b.Restored, max(a.Queued, b.Queued)
	return w
}

func alertingUnion(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
