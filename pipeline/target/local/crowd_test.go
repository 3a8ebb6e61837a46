package local

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd are clients of three kinds that use the service until they are stopped.
// The strict one speaks HTTP/1.1 on one connection, sends nothing twice, and takes
// an end that no answer has announced for a failure.
type crowd struct {
	address     string
	tls         *tls.Config
	get, post   string              // paths
	body        func(string) string // of a POST, by what it is to keep
	created     int                 // status of a POST
	mayLosePost bool                // a POST may be answered 502: it is not known what became of it
	idle        time.Duration       // longest pause of one strict client in four

	stop  chan struct{}
	wg    sync.WaitGroup
	asked [3]atomic.Int64
	moved atomic.Int64 // connections that an answer has ended
	lost  atomic.Int64 // POSTs

	mu       sync.Mutex
	failures []string
	kept     map[string]bool // what POSTs were to keep: true where that was answered
}

var crowdKinds = [3]string{"strict keep-alive", "Go client", "one connection a request"}

// gather starts n clients of each kind.
func (p *place) gather(n int, change func(*crowd)) *crowd {
	p.t.Helper()
	c := &crowd{
		address: p.opt.Declared.Listen, tls: &tls.Config{RootCAs: p.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12},
		get: "/", post: "/", body: func(s string) string { return s }, created: http.StatusOK,
		stop: make(chan struct{}), kept: map[string]bool{},
	}
	change(c)
	for i := range n {
		for kind := range crowdKinds {
			c.wg.Go(func() { c.use(kind, i) })
		}
	}
	return c
}

func (c *crowd) total() (n int64) {
	for k := range c.asked {
		n += c.asked[k].Load()
	}
	return n
}

// use is one client. asks sends a request and says whether its answer was whole.
func (c *crowd) use(kind, i int) {
	asks, leave := c.strict()
	if kind > 0 {
		asks, leave = c.ordinary(kind == 2)
	}
	defer leave()
	for n := 0; ; n++ {
		select {
		case <-c.stop:
			return
		default:
		}
		if kind == 0 && i%4 == 3 && c.idle > 0 {
			select {
			case <-c.stop:
				return
			case <-time.After(rand.N(c.idle)): // the idleness that is tested
			}
		}
		id := fmt.Sprintf("%d-%d-%d", kind, i, n)
		method, path, body, want := http.MethodGet, c.get, "", http.StatusOK
		if n%2 == 1 {
			method, path, body, want = http.MethodPost, c.post, c.body(id), c.created
			c.mu.Lock()
			c.kept[id] = false
			c.mu.Unlock()
		}
		c.asked[kind].Add(1)
		status, err := asks(method, path, body)
		switch {
		case err == nil && status == want:
			if body != "" {
				c.mu.Lock()
				c.kept[id] = true
				c.mu.Unlock()
			}
		case err == nil && status == http.StatusBadGateway && body != "" && c.mayLosePost:
			c.lost.Add(1)
		default:
			c.mu.Lock()
			c.failures = append(c.failures, fmt.Sprintf("%s: %s %s at %s: status %d, %v", crowdKinds[kind], method, id, time.Now().Format("05.000"), status, err))
			c.mu.Unlock()
			leave() // the next one begins anew
		}
	}
}

func (c *crowd) strict() (asks func(method, path, body string) (int, error), leave func()) {
	var conn *tls.Conn
	var in *bufio.Reader
	leave = func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	return func(method, path, body string) (int, error) {
		if conn == nil {
			var err error
			if conn, err = tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", c.address, c.tls); err != nil {
				conn = nil
				return 0, err
			}
			in = bufio.NewReader(conn)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		head := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n"
		if body != "" {
			head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		}
		if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
			return 0, err
		}
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.Close {
			c.moved.Add(1)
			leave()
		}
		return res.StatusCode, err
	}, leave
}

func (c *crowd) ordinary(single bool) (asks func(method, path, body string) (int, error), leave func()) {
	tr := &http.Transport{TLSClientConfig: c.tls, DisableKeepAlives: single}
	client := &http.Client{Transport: tr, Timeout: 30 * time.Second}
	return func(method, path, body string) (int, error) {
		req, err := http.NewRequest(method, "https://"+c.address+path, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, errors.Join(err, res.Body.Close())
	}, tr.CloseIdleConnections
}

// disperse ends the crowd, and fails where a request has.
func (c *crowd) disperse(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.wg.Wait()
	for _, f := range c.failures[:min(len(c.failures), 10)] {
		t.Error(f)
	}
	for k, name := range crowdKinds {
		t.Logf("%s: %d requests", name, c.asked[k].Load())
	}
	t.Logf("%d of %d requests failed, %d POSTs are not known to have been carried out; %d strict clients were asked to connect anew", len(c.failures), c.total(), c.lost.Load(), c.moved.Load())
}
