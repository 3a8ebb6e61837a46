package checks

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/environments"
)

// Why a request failed, as it stands in evidence.
const (
	loadSlow        = "slow" // right, but not in less than LoadLimit
	loadWrongBody   = "wrong body"
	loadRefused     = "connection refused"
	loadClosed      = "connection closed"
	loadTimedOut    = "timeout"
	loadCertificate = "certificate"
	loadHandshake   = "TLS"
	loadMalformed   = "malformed answer"
	loadNoHost      = "no such host"
	loadNetwork     = "network"
	loadUnanswered  = "too many unanswered" // the service owes more answers than anybody would wait for
)

// loadBodyLimit is how much of an answer is kept to look for the expected text.
const loadBodyLimit = 4 << 20

// loadDialer opens connections to one server.
type loadDialer struct {
	address string
	name    string
	tls     *tls.Config // nil: plain
	fault   error
}

func newLoadDialer(opt LoadOptions) (*loadDialer, error) {
	host, _, err := net.SplitHostPort(opt.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w", errLoadOptions, opt.Address, err)
	}
	d := &loadDialer{address: opt.Address, name: opt.Name, fault: opt.fault.dial}
	if d.name == "" {
		d.name = host
	}
	if !opt.Plain {
		d.tls = &tls.Config{ServerName: d.name, RootCAs: opt.Roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	return d, nil
}

// host is the value of the Host header.
func (d *loadDialer) host() string {
	_, port, _ := net.SplitHostPort(d.address)
	if (d.tls != nil && port == "443") || (d.tls == nil && port == "80") {
		port = ""
	}
	host := d.name
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return host
}

// dial connects until a moment. When ctx ends, the connection is closed under
// whoever waits on it.
func (d *loadDialer) dial(ctx context.Context, until time.Time) (*loadConn, error) {
	if d.fault != nil {
		return nil, d.fault
	}
	within, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(within, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	c := &loadConn{raw: raw, rw: raw}
	if d.tls != nil {
		secure := tls.Client(raw, d.tls)
		if err := secure.HandshakeContext(within); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		c.rw = secure
	}
	c.in = bufio.NewReader(c.rw)
	c.forget = context.AfterFunc(ctx, func() { _ = raw.Close() })
	return c, nil
}

// loadConn is one connection, used by one request at a time.
type loadConn struct {
	raw    net.Conn
	rw     net.Conn // over TLS, if there is any
	in     *bufio.Reader
	forget func() bool // lets ctx go without closing
}

func (c *loadConn) close() {
	c.forget()
	// Errors of a connection that is being given up tell nothing.
	_ = c.rw.Close()
}

// gone says that an idle connection is of no more use: the server has closed
// it, or has sent what nobody asked for.
func (c *loadConn) gone() bool {
	if c.in.Buffered() > 0 {
		return true
	}
	sc, ok := c.raw.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	// Control and not Read, which would heed the last request's deadline.
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		// Only "nothing to read yet" means that the line is quiet and open. Session
		// tickets were read with the first answer, so data is a farewell.
		gone = !errors.Is(err, unix.EAGAIN)
	})
	return gone || err != nil
}

// loadAnswer is what came of a request.
type loadAnswer struct {
	why       string // it failed; empty: the answer was right
	answered  bool   // a whole answer came, right or wrong
	dropped   bool   // it could not be sent, by no fault of the service
	announced bool   // the server said that it closes the connection
	instance  string // X-Gate-Instance
	body      []byte // where the endpoint wants it kept
}

// loadClient is one HTTP/1.1 client with at most one connection. It never sends
// a request twice.
type loadClient struct {
	dialer *loadDialer
	// strict clients don't look whether an idle connection is still there before
	// they use it, as many real ones don't: what the server closes without having
	// said so costs them a request.
	strict bool
	conn   *loadConn
	buf    []byte // of the last request that was not fixed
}

func (c *loadClient) close() {
	if c.conn != nil {
		c.conn.close()
		c.conn = nil
	}
}

// do sends one request and reads its answer until a moment.
func (c *loadClient) do(ctx context.Context, e *loadEndpoint, request []byte, until time.Time) loadAnswer {
	if c.conn != nil && !c.strict && c.conn.gone() {
		c.close()
	}
	if c.conn == nil {
		conn, err := c.dialer.dial(ctx, until)
		if err != nil {
			return loadAnswer{why: loadWhy(err), dropped: loadOwnFault(err)}
		}
		c.conn = conn
	}
	answer, err := c.conn.exchange(e, request, until)
	if err != nil {
		c.close()
		answer.why = loadWhy(err)
		return answer
	}
	if answer.announced {
		c.close()
	}
	return answer
}

func (c *loadConn) exchange(e *loadEndpoint, request []byte, until time.Time) (loadAnswer, error) {
	if err := c.rw.SetDeadline(until); err != nil {
		return loadAnswer{}, err
	}
	if _, err := c.rw.Write(request); err != nil {
		return loadAnswer{}, err
	}
	resp, err := c.head(e.method)
	if err != nil {
		return loadAnswer{}, err
	}
	answer := loadAnswer{announced: resp.Close, instance: resp.Header.Get("X-Gate-Instance")}
	body, err := io.ReadAll(io.LimitReader(resp.Body, loadBodyLimit))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	// Closing reads on to the end, which is reached already.
	_ = resp.Body.Close()
	if err != nil {
		return answer, err
	}
	answer.answered = true
	if e.keep {
		answer.body = body
	}
	answer.why = loadJudge(e.want, resp.StatusCode, body)
	return answer, nil
}

// head reads up to the final response's header, past interim ones.
func (c *loadConn) head(method string) (*http.Response, error) {
	for {
		if _, err := c.in.Peek(1); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil {
			var netErr net.Error
			if errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", errLoadMalformed, err)
		}
		if resp.StatusCode >= 200 {
			return resp, nil
		}
	}
}

var errLoadMalformed = errors.New("malformed answer")

// loadJudge compares an answer with what it should be.
func loadJudge(want environments.Expect, status int, body []byte) string {
	switch {
	case status != want.Status:
		return "status " + strconv.Itoa(status)
	case want.Body != "" && !strings.Contains(string(body), want.Body):
		return loadWrongBody
	}
	return ""
}

// loadOwnFault says that err is this machine's lack of ports, files or memory.
func loadOwnFault(err error) bool {
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// loadWhy names an error with one of few words, so that failures can be counted.
func loadWhy(err error) string {
	var (
		certificate *tls.CertificateVerificationError
		unknownCA   x509.UnknownAuthorityError
		alert       tls.AlertError
		record      tls.RecordHeaderError
		dns         *net.DNSError
		timeout     net.Error
	)
	switch {
	case errors.As(err, &certificate), errors.As(err, &unknownCA):
		return loadCertificate
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return loadTimedOut
	case errors.Is(err, errLoadMalformed):
		return loadMalformed
	case errors.Is(err, syscall.ECONNREFUSED):
		return loadRefused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return loadClosed
	case errors.As(err, &alert), errors.As(err, &record):
		return loadHandshake
	case errors.As(err, &dns):
		return loadNoHost
	}
	return loadNetwork
}
