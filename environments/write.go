package environments

// Drills holds what drills need.
type Drills struct {
	Write *Write `yaml:"write" json:"write,omitempty"`
}

// Write is a request that stores something, and how to find it again.
type Write struct {
	Method  string            `yaml:"method" json:"method"`
	Path    string            `yaml:"path" json:"path"`
	Headers map[string]string `yaml:"headers" json:"headers,omitempty"`
	Body    string            `yaml:"body" json:"body,omitempty"`
	Expect  Expect            `yaml:"expect" json:"expect"`
	Read    string            `yaml:"read" json:"read"`
	Holds   string            `yaml:"holds" json:"holds"`
}

// Endpoint is the write as one kind of request among others.
func (w *Write) Endpoint(weight int) Endpoint {
	return Endpoint{Name: "drill-write", Method: w.Method, Path: w.Path, Headers: w.Headers, Body: w.Body, Weight: weight, Expect: w.Expect}
}
