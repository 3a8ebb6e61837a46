package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// BackupPayload is what a restore showed. Times are seconds.
type BackupPayload struct {
	SystemIdentifier string    `json:"system_identifier"`
	ServerVersion    string    `json:"server_version"`
	BaseTime         time.Time `json:"base_time"` // of the base backup that was restored, else of the newest; 1970: there is none
	BaseAgeSeconds   float64   `json:"base_age_seconds"`
	BaseBytes        int64     `json:"base_bytes"`
	WALBytes         int64     `json:"wal_bytes"`
	SameDisk         bool      `json:"same_disk"` // as the data
	Streaming        bool      `json:"streaming"`

	Restored   bool          `json:"restored"` // to the moment of the comparison
	Verified   bool          `json:"verified"` // by pg_verifybackup
	Amcheck    bool          `json:"amcheck"`  // pg_amcheck found nothing wrong with the copy
	Point      bool          `json:"point"`    // the copy has what was written just before the moment, and not what came just after
	Tables     int           `json:"tables"`   // of the source, that were compared
	Equal      int           `json:"equal"`    // of those
	Rows       int64         `json:"rows"`     // of the source, in those
	Compared   []BackupTable `json:"compared,omitempty"`
	Missing    []string      `json:"missing,omitempty"`   // tables of the source that the copy lacks
	Different  []string      `json:"different,omitempty"` // whatever else is not the same
	Skipped    []string      `json:"skipped,omitempty"`   // tables whose rows are in no backup, with the reason
	Sequences  int           `json:"sequences"`
	Indexes    int           `json:"indexes"`
	Roles      int           `json:"roles"`
	Extensions int           `json:"extensions"`
	Retakes    int           `json:"retakes"` // comparisons that a transaction at the wrong moment spoilt

	RPOSeconds     float64 `json:"rpo_seconds"`     // until a committed row was durable in the archive, the longest of those tried
	RTOSeconds     float64 `json:"rto_seconds"`     // from nothing to right answers of the app from the copy; looking into it not counted
	RestoreSeconds float64 `json:"restore_seconds"` // of that, until the server accepted
	VerifySeconds  float64 `json:"verify_seconds"`
	Answered       int     `json:"answered"` // safe requests that the app answered rightly from the copy
	Asked          int     `json:"asked"`

	// What was seen by who asked the service itself for what may be asked anywhere.
	Requests int64   `json:"requests"`  // during the drill
	Failed   int64   `json:"failed"`    // of those
	QuietP95 float64 `json:"quiet_p95"` // before the drill
	P95      float64 `json:"p95"`       // during it

	Remote []BackupRemote `json:"remote"` // copies in an object store
	Faults []BackupFault  `json:"faults"` // whatever is wrong, each in words
}

// BackupTable is one table compared.
type BackupTable struct {
	Name  string `json:"name"`
	Rows  int64  `json:"rows"`
	Equal bool   `json:"equal"`
}

// BackupRemote is a restore from an object store.
type BackupRemote struct {
	Kind         string  `json:"kind"` // s3
	Restored     bool    `json:"restored"`
	Equal        bool    `json:"equal"` // to the source at its moment
	Bytes        int64   `json:"bytes"`
	Objects      int     `json:"objects"`
	FetchSeconds float64 `json:"fetch_seconds"`
}

// Kinds of faults that comparing finds.
const (
	FaultDifferent = "different"    // the copy is not the source
	FaultPoint     = "other_moment" // the copy is of another moment than was asked for
	FaultDamaged   = "damaged"      // pg_amcheck complains of the copy
	FaultApp       = "app"          // the app does not answer rightly from the copy
	FaultKeeping   = "keeping"      // backups are not being made as they should
)

// backupLasting are the faults that a base backup, with what was archived since,
// does not lose.
var backupLasting = []string{
	FaultCorrupt, FaultMissing, FaultTruncated, FaultVersion, FaultDatabase, FaultRecovery, FaultDifferent, FaultPoint, FaultDamaged,
}

const (
	backupRetakes = 5   // comparisons that are tried
	backupNames   = 100 // tables that are named in the evidence
	backupWait    = time.Minute
	backupClosing = time.Minute
)

var errBackupBusy = errors.New("transactions kept coming between the moment and its snapshot; try it when there is less to do")

// Backup restores the environment's backup on the side, to a moment of just
// now, and compares it with what the database held at that moment: every row of
// every table by a digest that no order changes, sequences, indexes,
// constraints, roles, extensions. Then the app of the release that serves is
// started on the copy and asked.
//
// What is wrong with a backup is a figure, and Completed; what keeps the check
// from trying it is Unavailable or an error.
func Backup() Check {
	return Check{
		Name:      "backup",
		Criterion: "backup",
		Version:   2,
		Scope:     OfEnvironment,
		InEnv:     true,
		After:     []string{"load"},
		Title:     "Backup restored, compared and served from",
		Parameters: func(in Input) map[string]string {
			p := map[string]string{"retakes": strconv.Itoa(backupRetakes)}
			if in.Declarations != nil && in.Declarations.App != nil {
				p["questions"] = environments.Digest(backupQuestions(in.Declarations.App))
			}
			return p
		},
		Estimate: func(Input) time.Duration { return 15 * time.Second },
		Measure:  backupMeasure,
		Pool:     backupPool,
	}
}

func backupQuestions(app *environments.App) []environments.Endpoint {
	var safe []environments.Endpoint
	for _, e := range app.Load.Endpoints {
		if e.Safe {
			safe = append(safe, e)
		}
	}
	return safe
}

func backupMeasure(ctx context.Context, in Input) (m Measurement, err error) {
	b, ok := in.Target.(Backups)
	if !ok {
		return Measurement{Status: Unavailable, Reason: "what runs the environment keeps no backups that could be tried from here"}, nil
	}
	facts, err := backupReady(ctx, b)
	if err != nil {
		return Measurement{}, err
	}
	if !facts.Kept {
		return Measurement{Status: Unavailable, Reason: facts.Why}, nil
	}
	p := BackupPayload{
		SystemIdentifier: facts.SystemIdentifier, ServerVersion: facts.ServerVersion,
		BaseBytes: facts.BaseBytes, WALBytes: facts.WALBytes, SameDisk: facts.SameDisk, Streaming: facts.Streaming,
		Remote: []BackupRemote{}, Faults: []BackupFault{},
	}
	if p.BaseTime = facts.BaseTime; p.BaseTime.IsZero() {
		// A time that policies can read, and none that any of them takes for fresh.
		p.BaseTime = time.Unix(0, 0).UTC()
	}
	if facts.Problem != "" {
		p.fault(FaultKeeping, "%s", facts.Problem)
	}
	m = Measurement{Status: Completed, Tools: loadTools()}
	if facts.ServerVersion != "" {
		m.Tools["postgresql"] = facts.ServerVersion
	}
	watch, err := watchService(ctx, in)
	if err != nil {
		return Measurement{}, err
	}
	ended := sync.OnceFunc(func() { watch.end(&p) })
	defer ended()
	for p.Retakes = 0; ; p.Retakes++ {
		if p.Retakes == backupRetakes {
			return Measurement{Status: Invalid, Reason: errBackupBusy.Error()}, nil
		}
		again, err := backupTry(ctx, in, b, facts, &p)
		var fault *BackupFault
		if errors.As(err, &fault) {
			p.Faults = append(p.Faults, *fault)
			err = nil
		}
		if errors.Is(err, errBackupBusy) && len(p.Faults) > 0 {
			break // enough is known
		}
		if errors.Is(err, errBackupBusy) {
			return Measurement{Status: Invalid, Reason: err.Error()}, nil
		}
		if err != nil {
			return Measurement{}, err
		}
		if !again {
			break
		}
		in.Note("backup: a transaction came between, once more")
	}
	ended()
	in.Note(fmt.Sprintf("backup: %d of %d tables equal, %d rows, %d faults", p.Equal, p.Tables, p.Rows, len(p.Faults)))
	m.Payload = p
	return m, nil
}

// backupReady waits for the first base backup of a daemon that has just begun.
func backupReady(ctx context.Context, b Backups) (BackupFacts, error) {
	for began := time.Now(); ; {
		facts, err := b.BackupFacts(ctx)
		if err != nil || !facts.Kept || facts.Bases > 0 && facts.Streaming || time.Since(began) > backupWait {
			return facts, err
		}
		select {
		case <-ctx.Done():
			return facts, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (p *BackupPayload) fault(kind, format string, args ...any) {
	p.Faults = append(p.Faults, BackupFault{Kind: kind, What: fmt.Sprintf(format, args...)})
}

// backupTry is one comparison. It asks for another one when the copy differs
// because its moment was not quite the source's.
func backupTry(ctx context.Context, in Input, b Backups, facts BackupFacts, p *BackupPayload) (again bool, err error) {
	in.Note("backup: describing the source")
	mark, err := b.MarkBackup(ctx)
	if err != nil {
		return false, err
	}
	p.RPOSeconds = max(p.RPOSeconds, mark.RPOSeconds)
	in.Note("backup: restoring")
	c, err := b.RestoreBackup(ctx, BackupPoint{LSN: mark.LSN, Verify: true, Aside: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, backupClose(ctx, c)) }()
	f := c.Facts()
	p.BaseTime, p.BaseAgeSeconds = f.BaseTime, max(0, mark.At.Sub(f.BaseTime).Seconds())
	p.Verified, p.VerifySeconds, p.RestoreSeconds, p.BaseBytes = f.Verified, f.VerifySeconds, f.RestoreSeconds, f.Bytes
	in.Note("backup: comparing")
	is, err := c.Inspect(ctx, mark)
	if err != nil {
		return false, err
	}
	sound := len(p.Faults)
	compared := backupCompare(mark.Database, is.Database)
	if len(compared.Faults) > 0 && !is.Same {
		return true, nil
	}
	p.take(compared)
	p.Restored = true
	p.Point = is.Before && !is.After
	switch {
	case !is.Before:
		p.fault(FaultPoint, "the copy lacks what was written before its moment")
	case is.After:
		p.fault(FaultPoint, "the copy holds what was written after its moment")
	}
	in.Note("backup: pg_amcheck")
	complaint, err := c.Amcheck(ctx)
	if err != nil {
		return false, err
	}
	if p.Amcheck = complaint == ""; !p.Amcheck {
		p.fault(FaultDamaged, "pg_amcheck: %.300s", complaint)
	}
	if len(p.Faults) == sound {
		// An app on a copy that is wrong proves nothing.
		in.Note("backup: serving from the copy")
		if err := backupServe(ctx, in, c, p); err != nil {
			return false, err
		}
	}
	if facts.Remote.Declared {
		in.Note("backup: restoring from the object store")
		return false, backupFromStore(ctx, b, p)
	}
	return false, nil
}

// backupClose ends the copy, also when ctx has ended.
func backupClose(ctx context.Context, c BackupCopy) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backupClosing)
	defer cancel()
	return c.Close(ctx)
}

// backupServe has the app serve from the copy and asks it what may be asked
// anywhere.
func backupServe(ctx context.Context, in Input, c BackupCopy, p *BackupPayload) error {
	begun := time.Now()
	address, err := c.Serve(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.fault(FaultApp, "%v", err)
		return nil
	}
	if in.Declarations == nil || in.Declarations.App == nil {
		return errors.New("what the app answers is not declared")
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, q := range backupQuestions(in.Declarations.App) {
		p.Asked++
		if err := backupAsk(ctx, client, "http://"+address, q); err != nil {
			p.fault(FaultApp, "%s: %v", q.Name, err)
			continue
		}
		p.Answered++
	}
	p.RTOSeconds = p.RestoreSeconds + time.Since(begun).Seconds()
	if p.Answered == 0 {
		return nil
	}
	// That it answers is no proof that it answers from the copy.
	n, err := c.Sessions(ctx)
	if err != nil {
		return err
	}
	if n == 0 {
		p.fault(FaultApp, "the app answers without a connection to the copy")
	}
	return nil
}

func backupAsk(ctx context.Context, client *http.Client, base string, q environments.Endpoint) error {
	values := map[string]string{"USER": "1", "SEQ": "1", "RUN": "restore", "NOW": time.Now().UTC().Format(time.RFC3339Nano)}
	req, err := http.NewRequestWithContext(ctx, q.Method, base+environments.Expand(q.Path, values), strings.NewReader(environments.Expand(q.Body, values)))
	if err != nil {
		return err
	}
	for k, v := range q.Headers {
		req.Header.Set(k, environments.Expand(v, values))
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	switch {
	case err != nil:
		return err
	case res.StatusCode != q.Expect.Status:
		return fmt.Errorf("answered %d, not %d", res.StatusCode, q.Expect.Status)
	case !strings.Contains(string(body), q.Expect.Body):
		return errors.New("answered with another body than is declared")
	}
	return nil
}

// backupFromStore restores what the object store has, to the end of what it
// has, and compares with the source at a moment of then.
func backupFromStore(ctx context.Context, b Backups, p *BackupPayload) (err error) {
	r := BackupRemote{Kind: "s3"}
	defer func() { p.Remote = append(p.Remote, r) }()
	for range backupRetakes {
		again, err := r.try(ctx, b)
		if err != nil {
			return err
		}
		if again {
			p.Retakes++
			continue
		}
		if !r.Equal {
			p.fault(FaultDifferent, "restored from the object store, the copy is not the source")
		}
		return nil
	}
	return errBackupBusy
}

// try is one restore. It asks for another one as backupTry does.
func (r *BackupRemote) try(ctx context.Context, b Backups) (again bool, err error) {
	mark, err := b.MarkBackup(ctx)
	if err != nil {
		return false, err
	}
	c, err := b.RestoreBackup(ctx, BackupPoint{LSN: mark.LSN, Verify: true, Remote: true, Aside: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, backupClose(ctx, c)) }()
	r.Restored, r.FetchSeconds = true, c.Facts().FetchSeconds
	is, err := c.Inspect(ctx, mark)
	if err != nil {
		return false, err
	}
	compared := backupCompare(mark.Database, is.Database)
	if len(compared.Faults) > 0 && !is.Same {
		return true, nil
	}
	r.Equal = len(compared.Faults) == 0 && is.Before && !is.After
	now, err := b.BackupFacts(ctx)
	if err != nil {
		return false, err
	}
	r.Bytes, r.Objects = now.Remote.Bytes, now.Remote.Objects
	return false, nil
}

// backupPool keeps the newest restore: a backup is a state, and one that has
// been mended has to be seen. A base backup that was found bad stays bad,
// however often it is tried: of runs on the same one the worst counts.
func backupPool(payloads [][]byte) ([]byte, error) {
	runs := make([]BackupPayload, len(payloads))
	for i, raw := range payloads {
		if err := json.Unmarshal(raw, &runs[i]); err != nil {
			return nil, fmt.Errorf("pool backup: run %d: %w", i+1, err)
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("pool backup: %w", errLoadNothing)
	}
	newest := runs[len(runs)-1]
	for _, r := range runs[:len(runs)-1] {
		if !r.BaseTime.Equal(newest.BaseTime) || r.SystemIdentifier != newest.SystemIdentifier {
			continue
		}
		newest.RPOSeconds = max(newest.RPOSeconds, r.RPOSeconds)
		newest.RTOSeconds = max(newest.RTOSeconds, r.RTOSeconds)
		newest.QuietP95, newest.P95 = min(newest.QuietP95, r.QuietP95), max(newest.P95, r.P95)
		for _, f := range r.Faults {
			if slices.Contains(backupLasting, f.Kind) && !slices.Contains(newest.Faults, f) {
				newest.Faults = append(newest.Faults, f)
			}
		}
	}
	return json.Marshal(newest)
}
