package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	trafficClients = 16
	answerPatience = 10 * time.Second // of one request
	samplesASource = 500              // fewer than one query returns
)

// asked is one request, and what came of it.
type asked struct {
	sent, done time.Time
	what       string // "POST /api/v1/metrics"
	status     int    // 0: no answer
	release    string // that answered, by X-Gate-Release
	err        error  // why it is no success
}

// traffic are strict clients: each has one TLS connection on which it writes
// HTTP/1.1 itself. Nothing is ever sent again, and a connection that ends
// without an answer that announced it is a failed request.
type traffic struct {
	address string
	tls     *tls.Config
	run     string
	rate    int
	began   time.Time
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	asked   []asked
	stored  map[string]map[int64]bool // source → sample times in µs whose POST was answered 200
	dialled int
}

// drive begins requests to the environment, rate a second over all clients.
// What is late because a client waits is sent late, not left out.
func (d *drills) drive(environment string, rate int) *traffic {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tr := &traffic{
		address: fmt.Sprintf("127.0.0.1:%d", d.ports[environment]), tls: d.roots(environment),
		run: strings.ToLower(rand.Text()[:8]), rate: rate, began: time.Now(), stop: cancel, stored: map[string]map[int64]bool{},
	}
	for i := range trafficClients {
		tr.wg.Go(func() { tr.client(ctx, i) })
	}
	d.t.Cleanup(tr.end)
	d.eventually(answerPatience, "the first answers", func() bool { return tr.count(func(asked) bool { return true }) >= trafficClients })
	return tr
}

// end waits for the answers that are due. It may be called again.
func (tr *traffic) end() {
	tr.stop()
	tr.wg.Wait()
}

func (d *drills) roots(environment string) *tls.Config {
	d.t.Helper()
	pem, err := os.ReadFile(filepath.Join(d.state, "env", environment, "certs", "ca.pem"))
	if err != nil {
		d.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		d.t.Fatalf("no certificate in the authority of %s", environment)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
}

// line is one connection.
type line struct {
	conn *tls.Conn
	in   *bufio.Reader
}

func (tr *traffic) client(ctx context.Context, i int) {
	var l *line
	hangUp := func() {
		if l != nil {
			l.conn.Close()
			l = nil
		}
	}
	defer hangUp()
	interval := time.Duration(trafficClients) * time.Second / time.Duration(tr.rate)
	due := tr.began.Add(time.Duration(i) * time.Second / time.Duration(tr.rate))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		due = due.Add(interval)
		method, path, body, want, source, at := tr.request(i, n)
		a := asked{sent: time.Now(), what: method + " " + path}
		var closes bool
		if l == nil {
			l, a.err = tr.dial(ctx)
		}
		if a.err == nil {
			closes, a.err = l.exchange(&a, method, path, body, want)
		}
		a.done = time.Now()
		if a.status == 0 || closes {
			hangUp()
		}
		tr.mu.Lock()
		tr.asked = append(tr.asked, a)
		if a.err == nil && source != "" {
			if tr.stored[source] == nil {
				tr.stored[source] = map[int64]bool{}
			}
			tr.stored[source][at.UnixMicro()] = true
		}
		tr.mu.Unlock()
	}
}

// request is the n-th of client i: of five two write, two read what was
// written, one asks for the version.
func (tr *traffic) request(i, n int) (method, path, body, want, source string, at time.Time) {
	s := fmt.Sprintf("drill-%s-%d-%d", tr.run, i, n/samplesASource)
	switch n % 5 {
	case 0, 2:
		at = tr.began.UTC().Truncate(time.Second).Add(time.Duration(n) * time.Millisecond)
		body = fmt.Sprintf(`{"samples":[{"source":%q,"metric":"n","time":%q,"value":%d}]}`, s, at.Format(time.RFC3339Nano), n)
		return "POST", "/api/v1/metrics", body, `"accepted":1`, s, at
	case 1, 3:
		return "GET", "/api/v1/metrics?source=" + s + "&limit=20", "", `"samples":[`, "", at
	}
	return "GET", "/version", "", `"release":"sha256:`, "", at
}

func (tr *traffic) dial(ctx context.Context) (*line, error) {
	// Whoever stops the clients still wants the answers that are due.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: tr.tls}).DialContext(ctx, "tcp", tr.address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	tr.mu.Lock()
	tr.dialled++
	tr.mu.Unlock()
	return &line{conn.(*tls.Conn), bufio.NewReader(conn)}, nil
}

// exchange sends one request and reads its answer. closes: the server has
// announced that this was the connection's last.
func (l *line) exchange(a *asked, method, path, body, want string) (closes bool, err error) {
	if err := l.conn.SetDeadline(time.Now().Add(answerPatience)); err != nil {
		return true, err
	}
	head := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	if body != "" {
		head += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	if _, err := io.WriteString(l.conn, head+"\r\n"+body); err != nil {
		return true, fmt.Errorf("send: %w", err)
	}
	res, err := http.ReadResponse(l.in, &http.Request{Method: method})
	if err != nil {
		return true, fmt.Errorf("connection lost before an answer: %w", err)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return true, fmt.Errorf("connection lost in an answer: %w", err)
	}
	a.status, a.release = res.StatusCode, res.Header.Get("X-Gate-Release")
	if res.StatusCode != http.StatusOK || !strings.Contains(string(got), want) {
		return res.Close, fmt.Errorf("answered %s: %.120s", res.Status, got)
	}
	return res.Close, nil
}

// count counts the requests that are done and of which ok holds.
func (tr *traffic) count(ok func(asked) bool) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	n := 0
	for _, a := range tr.asked {
		if ok(a) {
			n++
		}
	}
	return n
}

// all are the requests that are done. The caller has ended the traffic.
func (tr *traffic) all() []asked { return tr.asked }

// failures are the requests that failed, but for those that may.
func (tr *traffic) failures(may func(asked) bool) []asked {
	var out []asked
	for _, a := range tr.all() {
		if a.err != nil && (may == nil || !may(a)) {
			out = append(out, a)
		}
	}
	return out
}

// faultless ends the traffic and complains of every failure that may not be.
func (tr *traffic) faultless(t *testing.T, may func(asked) bool) {
	t.Helper()
	tr.end()
	failed := tr.failures(may)
	for _, a := range failed[:min(len(failed), 10)] {
		t.Errorf("%s, sent %s after the beginning, failed after %s: %v", a.what, a.sent.Sub(tr.began).Round(time.Millisecond), a.done.Sub(a.sent).Round(time.Millisecond), a.err)
	}
	if n := len(failed); n > 0 {
		t.Errorf("%d of %d requests failed", n, len(tr.all()))
	}
}

func (tr *traffic) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	failed, stored := 0, 0
	for _, a := range tr.asked {
		if a.err != nil {
			failed++
		}
	}
	for _, s := range tr.stored {
		stored += len(s)
	}
	took := time.Since(tr.began)
	return fmt.Sprintf("%d requests in %s (%.0f/s, wanted %d/s) on %d connections, %d opened in all; %d failed; %d samples acknowledged",
		len(tr.asked), took.Round(100*time.Millisecond), float64(len(tr.asked))/took.Seconds(), tr.rate, trafficClients, tr.dialled, failed, stored)
}

// keptAll ends the traffic and asks the environment for every sample that it has
// acknowledged.
func (d *drills) keptAll(environment string, tr *traffic) {
	d.t.Helper()
	tr.end()
	client := &http.Client{Timeout: answerPatience, Transport: &http.Transport{TLSClientConfig: d.roots(environment), MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	lost, total := 0, 0
	for source, times := range tr.stored {
		res, err := client.Get("https://" + tr.address + "/api/v1/metrics?limit=1000&source=" + url.QueryEscape(source))
		if err != nil {
			d.t.Fatalf("query %s: %v", source, err)
		}
		var page struct {
			Samples []struct {
				Time time.Time `json:"time"`
			} `json:"samples"`
		}
		err = json.NewDecoder(res.Body).Decode(&page)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			d.t.Fatalf("query %s: %s, %v", source, res.Status, err)
		}
		found := map[int64]bool{}
		for _, s := range page.Samples {
			found[s.Time.UnixMicro()] = true
		}
		for at := range times {
			if total++; !found[at] {
				lost++
			}
		}
	}
	if lost > 0 || total == 0 {
		d.t.Errorf("%d of %d acknowledged samples are lost in %s", lost, total, environment)
	}
}
