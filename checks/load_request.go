package checks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// loadPlan turns a scenario's endpoints into requests. It may be used by many
// goroutines at once.
type loadPlan struct {
	endpoints []loadEndpoint
	weights   int
	run       string
	seq       atomic.Int64
}

// loadEndpoint is an endpoint made ready for writing. Head ends before the
// Content-Length; both texts may hold placeholders.
type loadEndpoint struct {
	name       string
	method     string
	head, body string
	fixed      []byte // the whole request, when it holds no placeholder
	upTo       int    // weights of the endpoints so far
	want       environments.Expect
	keep       bool // the answer's body
}

// loadValues are what one request's placeholders were replaced by.
type loadValues struct {
	user int
	seq  int64
	now  time.Time
}

func (p *loadPlan) expand(v loadValues) func(string) string {
	return strings.NewReplacer(
		"${USER}", strconv.Itoa(v.user),
		"${SEQ}", strconv.FormatInt(v.seq, 10),
		"${RUN}", p.run,
		"${NOW}", v.now.UTC().Format(time.RFC3339Nano),
	).Replace
}

func newLoadPlan(endpoints []environments.Endpoint, host, run string) (*loadPlan, error) {
	p := &loadPlan{run: run}
	for _, e := range endpoints {
		ready, err := newLoadEndpoint(e, host)
		if err != nil {
			return nil, fmt.Errorf("%w: endpoint %q: %w", errLoadOptions, e.Name, err)
		}
		p.weights += e.Weight
		ready.upTo = p.weights
		p.endpoints = append(p.endpoints, ready)
	}
	if len(p.endpoints) == 0 {
		return nil, fmt.Errorf("%w: no endpoint is declared", errLoadOptions)
	}
	return p, nil
}

func newLoadEndpoint(e environments.Endpoint, host string) (loadEndpoint, error) {
	bad := func(c rune) bool { return c <= ' ' || c == 0x7f }
	switch {
	case e.Weight < 1:
		return loadEndpoint{}, fmt.Errorf("weight %d; give it at least 1", e.Weight)
	case e.Method == "" || strings.ContainsFunc(e.Method, func(c rune) bool { return c < 'A' || c > 'Z' }):
		return loadEndpoint{}, fmt.Errorf("method %q is none", e.Method)
	case !strings.HasPrefix(e.Path, "/") || strings.ContainsFunc(e.Path, bad):
		return loadEndpoint{}, fmt.Errorf("path %q must start with / and hold no white space", e.Path)
	case e.Expect.Status < 200 || e.Expect.Status > 599:
		return loadEndpoint{}, fmt.Errorf("expected status %d is none", e.Expect.Status)
	}
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", e.Method, e.Path)
	lines := []string{"Host: " + host, "User-Agent: gate", "Accept-Encoding: identity"}
	for name, value := range e.Headers {
		canonical := http.CanonicalHeaderKey(name)
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return bad(c) || c == ':' }) || strings.ContainsAny(value, "\r\n\x00") {
			return loadEndpoint{}, fmt.Errorf("header %q can't be written", name)
		}
		switch canonical {
		case "Connection", "Content-Length", "Transfer-Encoding", "Expect", "Upgrade":
			return loadEndpoint{}, fmt.Errorf("header %s belongs to the connection; remove it", canonical)
		}
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, canonical+": ") })
		lines = append(lines, canonical+": "+value)
	}
	slices.Sort(lines) // a map has no order, a request should
	for _, l := range lines {
		head.WriteString(l + "\r\n")
	}
	ready := loadEndpoint{name: e.Name, method: e.Method, head: head.String(), body: e.Body, want: e.Expect}
	if !strings.Contains(ready.head+ready.body, "${") {
		ready.fixed = loadWire(nil, e.Method, ready.head, ready.body)
	}
	return ready, nil
}

// loadWire appends the request as it goes over the wire.
func loadWire(buf []byte, method, head, body string) []byte {
	buf = append(buf, head...)
	if body != "" || (method != http.MethodGet && method != http.MethodHead) {
		buf = append(buf, "Content-Length: "...)
		buf = strconv.AppendInt(buf, int64(len(body)), 10)
		buf = append(buf, "\r\n"...)
	}
	buf = append(buf, "\r\n"...)
	return append(buf, body...)
}

// choose draws an endpoint by weight.
func (p *loadPlan) choose(r *rand.Rand) int {
	n := r.IntN(p.weights)
	return slices.IndexFunc(p.endpoints, func(e loadEndpoint) bool { return n < e.upTo })
}

// values are those of a user's next request. Every request has a number of its
// own, also one without a placeholder for it.
func (p *loadPlan) values(user int) loadValues {
	return loadValues{user: user, seq: p.seq.Add(1), now: time.Now()}
}

// fill is the bytes to send to endpoint i. The result may share memory with buf,
// and must not be changed.
func (p *loadPlan) fill(buf []byte, i int, v loadValues) []byte {
	e := &p.endpoints[i]
	if e.fixed != nil {
		return e.fixed
	}
	replace := p.expand(v)
	return loadWire(buf[:0], e.method, replace(e.head), replace(e.body))
}

// send sends a request to endpoint i for a user.
func (p *loadPlan) send(ctx context.Context, c *loadClient, i, user int, until time.Time) loadAnswer {
	return p.sendAs(ctx, c, i, p.values(user), until)
}

// sendAs sends a request to endpoint i with these values.
func (p *loadPlan) sendAs(ctx context.Context, c *loadClient, i int, v loadValues, until time.Time) loadAnswer {
	e := &p.endpoints[i]
	request := p.fill(c.buf, i, v)
	if e.fixed == nil {
		c.buf = request
	}
	return c.do(ctx, e, request, until)
}

func (p *loadPlan) names() []string {
	names := make([]string, len(p.endpoints))
	for i, e := range p.endpoints {
		names[i] = e.name
	}
	return names
}
