package balancer

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/smartcloudops/gate/pipeline/target/local/certs"
)

const (
	benchConns     = 32
	benchRounds    = 3 // interleaved, so that a noisy neighbour meets all
	benchRound     = 1500 * time.Millisecond
	benchRate      = 500 // requests a second where the rate is fixed
	benchRateTime  = 1500 * time.Millisecond
	benchSwapTime  = 6 * time.Second
	benchSwapEvery = 500 * time.Millisecond
)

// rival is a proxy under test, in a process of its own.
type rival struct {
	name string
	addr string
	proc *child
	swap func(instance string) error

	requests int64 // in the rounds of full load
	busy     time.Duration
	cpu      time.Duration
	latency  []time.Duration // at the fixed rate
	swaps    int
	sent     int64 // during swaps
	failed   int64
	why      sync.Map
}

// TestBalancersSideBySide compares this balancer with nginx and HAProxy in
// front of the same instances with the same certificate, in the same run: on a
// shared machine only the ratios mean something.
//
//	GATE_BENCH=1 go test -run BalancersSideBySide -v .
func TestBalancersSideBySide(t *testing.T) {
	if os.Getenv("GATE_BENCH") != "1" {
		t.Skip("a comparison with nginx and HAProxy, about 50 s: run it with GATE_BENCH=1")
	}
	dir := t.TempDir()
	ca, err := certs.Ensure(dir, benchNames, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	back := startChild(t, []string{roleEnv + "=backend"}, self)
	instances := [2]string{back.line(t), back.line(t)}

	ours := startChild(t, []string{roleEnv + "=balancer"}, self, dir, instances[0])
	rivals := []*rival{{name: "gate", addr: ours.line(t), proc: ours, swap: func(a string) error {
		_, err := fmt.Fprintln(ours.in, a)
		return err
	}}}
	for _, r := range []*rival{startNginx(t, dir, instances[0]), startHAProxy(t, dir, instances[0])} {
		if r != nil {
			rivals = append(rivals, r)
		}
	}
	for _, r := range rivals {
		until(t, r.name+" serves", func() bool {
			s, err := dialStrict(r.addr, ca.Roots())
			if err != nil {
				return false
			}
			defer s.close()
			status, err := s.do(http.MethodGet, "/", "")
			return err == nil && status == http.StatusOK
		})
	}
	for range benchRounds {
		for _, r := range rivals {
			r.fullLoad(t, ca.Roots())
		}
	}
	for range benchRounds {
		for _, r := range rivals {
			latency, _, _ := r.atRate(t, ca.Roots(), benchRateTime)
			r.latency = append(r.latency, latency...)
		}
	}
	for _, r := range rivals {
		r.underSwaps(t, ca.Roots(), instances)
	}
	report(t, rivals)
	if rivals[0].failed > 0 {
		t.Errorf("%d requests failed during swaps", rivals[0].failed)
	}
}

// fullLoad keeps every connection busy.
func (r *rival) fullLoad(t *testing.T, roots *x509.CertPool) {
	t.Helper()
	var clients []*strict
	for range benchConns {
		s, err := dialStrict(r.addr, roots)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		defer s.close()
		clients = append(clients, s)
	}
	before, begin := r.proc.cpu(t), time.Now()
	var n atomic.Int64
	var wg sync.WaitGroup
	for _, s := range clients {
		wg.Go(func() {
			for time.Since(begin) < benchRound {
				if status, err := s.do(http.MethodGet, "/", ""); err != nil || status != http.StatusOK {
					t.Errorf("%s: %d, %v", r.name, status, err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	r.busy += time.Since(begin)
	r.cpu += r.proc.cpu(t) - before
	r.requests += n.Load()
}

// atRate sends at a fixed rate for d and times from the schedule, so that a
// stall counts for every request that it delays. A client whose connection
// breaks connects anew, and the request has failed.
func (r *rival) atRate(t *testing.T, roots *x509.CertPool, d time.Duration) (latency []time.Duration, sent, failed int64) {
	t.Helper()
	const clients = 16
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now().Add(100 * time.Millisecond)
	for i := range clients {
		wg.Go(func() {
			var s *strict
			defer func() {
				if s != nil {
					s.close()
				}
			}()
			var own []time.Duration
			var lost, n int64
			for k := i; ; k += clients {
				due := begin.Add(time.Duration(k) * time.Second / benchRate)
				if due.Sub(begin) > d {
					break
				}
				time.Sleep(time.Until(due)) // the schedule
				if s == nil {
					var err error
					if s, err = dialStrict(r.addr, roots); err != nil {
						n++
						lost++
						s = nil
						r.why.Store("connect: "+err.Error(), true)
						continue
					}
				}
				method, body := http.MethodGet, ""
				if k%4 == 0 {
					method, body = http.MethodPost, "body"
				}
				n++
				status, err := s.do(method, "/", body)
				if errors.Is(err, errToldToClose) { // said in time: a strict client can live with it
					s.close()
					s, err = nil, nil
				}
				if err != nil || status != http.StatusOK {
					lost++
					r.why.Store(fmt.Sprintf("%s: status %d, %v", method, status, err), true)
					if s != nil {
						s.close()
						s = nil
					}
					continue
				}
				own = append(own, time.Since(due))
			}
			mu.Lock()
			defer mu.Unlock()
			latency = append(latency, own...)
			sent += n
			failed += lost
		})
	}
	wg.Wait()
	return latency, sent, failed
}

func (r *rival) underSwaps(t *testing.T, roots *x509.CertPool, instances [2]string) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(benchSwapEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.swaps++
				if err := r.swap(instances[r.swaps%2]); err != nil {
					t.Errorf("%s: swap: %v", r.name, err)
				}
			}
		}
	})
	_, r.sent, r.failed = r.atRate(t, roots, benchSwapTime)
	close(done)
	wg.Wait()
}

func report(t *testing.T, rivals []*rival) {
	t.Helper()
	base := rivals[0]
	for _, r := range rivals {
		if r.name == "nginx" {
			base = r
		}
	}
	per := func(r *rival) float64 { return float64(r.requests) / r.busy.Seconds() }
	cpu := func(r *rival) float64 { return float64(r.cpu.Microseconds()) / float64(max(r.requests, 1)) }
	p99 := func(r *rival) float64 {
		if len(r.latency) == 0 {
			return 0
		}
		slices.Sort(r.latency)
		return float64(r.latency[len(r.latency)*99/100].Microseconds()) / 1000
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tmax req/s\t÷%[1]s\tCPU µs/req\t÷%[1]s\tp99 ms at %[2]d/s\t÷%[1]s\tfailed in swaps\tswaps\t\n", base.name, benchRate)
	for _, r := range rivals {
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.1f\t%.2f\t%.2f\t%.2f\t%d of %d (%.2f%%)\t%d\t\n", r.name,
			per(r), per(r)/per(base), cpu(r), cpu(r)/cpu(base), p99(r), p99(r)/p99(base),
			r.failed, r.sent, 100*float64(r.failed)/float64(max(r.sent, 1)), r.swaps)
	}
	_ = w.Flush()
	t.Logf("TLS 1.3, ECDSA P-256, %d keep-alive connections, %d cores shared with the clients and the instance\n%s",
		benchConns, runtime.NumCPU(), out.String())
	for _, r := range rivals {
		shown := 0
		r.why.Range(func(k, _ any) bool {
			t.Logf("%s failed like this: %v", r.name, k)
			shown++
			return shown < 3
		})
	}
}

func missing(t *testing.T, name, pkg string) {
	t.Helper()
	t.Logf("NOT COMPARED WITH %s: it is not installed; apt-get install -y %s", strings.ToUpper(name), pkg)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startReloading starts a proxy that learns of another instance by reading its
// configuration again on a signal.
func startReloading(t *testing.T, name, dir, instance string, again syscall.Signal, config func(addr, instance string) string, args ...string) *rival {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(map[string]string{"nginx": "/usr/sbin/nginx", "haproxy": "/usr/sbin/haproxy"}[name], name))
	if err != nil {
		missing(t, name, map[string]string{"nginx": "nginx-light", "haproxy": "haproxy"}[name])
		return nil
	}
	addr := freeAddr(t)
	file := filepath.Join(dir, name+".conf")
	write := func(instance string) error { return os.WriteFile(file, []byte(config(addr, instance)), 0o600) }
	if err := write(instance); err != nil {
		t.Fatal(err)
	}
	c := startChild(t, nil, path, append(args, file)...)
	return &rival{name: name, addr: addr, proc: c, swap: func(instance string) error {
		if err := write(instance); err != nil {
			return err
		}
		return c.cmd.Process.Signal(again)
	}}
}

func startNginx(t *testing.T, dir, instance string) *rival {
	return startReloading(t, "nginx", dir, instance, syscall.SIGHUP, func(addr, instance string) string {
		return fmt.Sprintf(`
daemon off; user root; worker_processes %d; pid %[2]s/nginx.pid; error_log %[2]s/nginx.log;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path %[2]s/b; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
  upstream app { server %[3]s; keepalive 256; keepalive_requests 100000000; }
  server {
    listen %[4]s ssl backlog=4096; ssl_certificate %[2]s/server.pem; ssl_certificate_key %[2]s/server.pem; ssl_protocols TLSv1.3;
    keepalive_timeout 180s; keepalive_requests 100000000;
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
  }
}`, runtime.NumCPU(), dir, instance, addr)
	}, "-p", dir, "-c")
}

func startHAProxy(t *testing.T, dir, instance string) *rival {
	return startReloading(t, "haproxy", dir, instance, syscall.SIGUSR2, func(addr, instance string) string {
		return fmt.Sprintf(`
global
  nbthread %d
  hard-stop-after 5s
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 1s
  timeout client 180s
  timeout server 60s
frontend tls
  bind %s ssl crt %s/server.pem ssl-min-ver TLSv1.3
  default_backend app
backend app
  server one %s
`, runtime.NumCPU(), addr, dir, instance)
	}, "-W", "-db", "-f")
}
