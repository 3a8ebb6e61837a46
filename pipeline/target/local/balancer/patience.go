package balancer

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// A client may be as slow as it likes as long as it moves: deadlines are set
// for each read and write and not for the whole, which would cut off the big
// upload over a bad line. In HTTP/1 a deadline that passes while nobody reads
// or writes does nothing, and the next one replaces it. In HTTP/2 it resets the
// stream, so there it is taken back after each step.

// patientBody is a request's body.
type patientBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	stall time.Duration
	h2    bool

	mu    sync.Mutex
	err   error
	ended bool
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(time.Now().Add(b.stall)) // unsupported only after a hijack, when there is no body
	n, err := b.ReadCloser.Read(p)
	if b.h2 || err != nil {
		// At the end, too: in HTTP/1 the server goes on reading to notice a client
		// that leaves, and must not take the deadline for that.
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	if err == nil || errors.Is(err, http.ErrBodyReadAfterClose) {
		return n, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == io.EOF:
		b.ended = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.err = errClientStall
	default:
		b.err = errClient
	}
	return n, err
}

// failure is why the body could not be read to its end, if the client is to blame.
func (b *patientBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// patientWriter is the answer's writer.
type patientWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration
	h2    bool
}

func newPatientWriter(w http.ResponseWriter, r *http.Request, stall time.Duration) *patientWriter {
	return &patientWriter{ResponseWriter: w, rc: http.NewResponseController(w), stall: stall, h2: r.ProtoMajor == 2}
}

// Unwrap lets a ResponseController hijack the connection.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) Write(p []byte) (int, error) {
	w.arm()
	defer w.disarm()
	return w.ResponseWriter.Write(p)
}

// FlushError is what a ResponseController calls to flush.
func (w *patientWriter) FlushError() error {
	w.arm()
	defer w.disarm()
	return w.rc.Flush()
}

func (w *patientWriter) arm() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.stall)) }

func (w *patientWriter) disarm() {
	if w.h2 {
		_ = w.rc.SetWriteDeadline(time.Time{})
	}
}

// close covers what the server does after the handler has returned: it writes
// what is buffered, and reads a body that was left unread. The server takes both
// back before the next request, and when the stream ends.
func (w *patientWriter) close(body *patientBody) {
	if w.h2 {
		w.arm()
		return
	}
	if body == nil {
		return
	}
	body.mu.Lock()
	defer body.mu.Unlock()
	if !body.ended {
		_ = w.rc.SetReadDeadline(time.Now().Add(w.stall))
	}
}

// buffers lends out copy buffers.
var buffers = &bufferPool{}

type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get and Put pass arrays by pointer, so that lending allocates nothing.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *bufferPool) Put(b []byte) {
	if len(b) == bufferSize {
		p.pool.Put((*[bufferSize]byte)(b))
	}
}
