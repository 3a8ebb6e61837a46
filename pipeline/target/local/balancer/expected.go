package balancer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// Expected is what a right answer to one of gate's own requests looks like.
type Expected struct {
	Status int           `json:"status"`
	Body   []byte        `json:"body"`   // it holds this
	Within time.Duration `json:"within"` // the whole answer is there
}

// Header is the value of HeaderExpect.
func (e Expected) Header() string {
	b, err := json.Marshal(e)
	if err != nil {
		return "" // which is met by nothing
	}
	return base64.StdEncoding.EncodeToString(b)
}

// expected is an Expected while the answer comes.
type expected struct {
	Expected
	found bool
	end   []byte // of the answer so far, as much as Body could begin in
}

// expectedOf is what the request says; nil: nothing is expected. What can't be
// read is met by nothing.
func expectedOf(r *http.Request) *expected {
	values := r.Header[HeaderExpect]
	if len(values) == 0 {
		return nil
	}
	e := &expected{}
	b, err := base64.StdEncoding.DecodeString(values[0])
	if err != nil || json.Unmarshal(b, &e.Expected) != nil {
		return &expected{Expected: Expected{Status: -1}, found: true}
	}
	e.found = len(e.Body) == 0
	return e
}

func (e *expected) read(p []byte) {
	if e == nil || e.found {
		return
	}
	e.end = append(e.end, p...)
	e.found = bytes.Contains(e.end, e.Body)
	e.end = append(e.end[:0], e.end[max(0, len(e.end)-len(e.Body)+1):]...)
}

// met says whether the answer was right.
func (e *expected) met(status int, took time.Duration) bool {
	return e == nil || status == e.Status && e.found && took <= e.Within
}
