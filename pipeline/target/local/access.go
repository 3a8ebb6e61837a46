package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
)

const (
	accessBytes = 64 << 20       // a bigger access log is rotated
	accessAge   = 24 * time.Hour // and so is an older one
	accessKeep  = 7              // files beside the current one; older ones are removed
)

// accessLog is one JSON line a request. Lines are handed to one goroutine, so
// that a slow disk delays no request; lines that it cannot take are lost.
type accessLog struct {
	lines chan balancer.AccessRecord
	done  chan struct{}
	once  sync.Once
}

func openAccessLog(p Paths) (*accessLog, error) {
	if err := os.MkdirAll(p.Logs(), 0o700); err != nil {
		return nil, fmt.Errorf("folder for logs: %w", err)
	}
	f, err := os.OpenFile(p.AccessLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	a := &accessLog{lines: make(chan balancer.AccessRecord, 4096), done: make(chan struct{})}
	go a.run(f, p.AccessLog())
	return a, nil
}

func (a *accessLog) write(r balancer.AccessRecord) {
	select {
	case a.lines <- r:
	default:
	}
}

func (a *accessLog) run(f *os.File, name string) {
	defer close(a.done)
	defer func() { f.Close() }()
	size, since := int64(0), time.Now()
	if fi, err := f.Stat(); err == nil {
		size = fi.Size()
	}
	for r := range a.lines {
		b, err := json.Marshal(r)
		if err != nil {
			continue
		}
		n, _ := f.Write(append(b, '\n'))
		if size += int64(n); size < accessBytes && time.Since(since) < accessAge {
			continue
		}
		for i := accessKeep; i > 1; i-- {
			_ = os.Rename(fmt.Sprintf("%s.%d", name, i-1), fmt.Sprintf("%s.%d", name, i))
		}
		_ = os.Rename(name, name+".1")
		next, err := os.OpenFile(filepath.Clean(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			continue
		}
		f.Close()
		f, size, since = next, 0, time.Now()
	}
}

// Close writes what is left. The balancer must have been shut down.
func (a *accessLog) Close() error {
	a.once.Do(func() { close(a.lines) })
	<-a.done
	return nil
}
