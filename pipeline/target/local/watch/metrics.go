package watch

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/smartcloudops/gate/checks"
)

// Metrics answers with all that the watch knows, for Prometheus.
func (w *Watcher) Metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(&collector{w: w, descs: map[string]*prometheus.Desc{}}, collectors.NewGoCollector())
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
}

// collector asks the watcher with each scrape.
type collector struct {
	w     *Watcher
	descs map[string]*prometheus.Desc
}

// metric is one line of the table of metrics, with its labels beside app and
// environment.
type metric struct {
	name, help string
	typ        prometheus.ValueType
	labels     []string
}

var metrics = []metric{
	{"gate_probe_seconds_total", "Seconds looked at, by what came of it.", prometheus.CounterValue, []string{"result"}},
	{"gate_probe_up", "1 while the newest probe of the public address was answered rightly.", prometheus.GaugeValue, nil},
	{"gate_probe_duration_seconds", "How long the newest probe took.", prometheus.GaugeValue, nil},
	{"gate_watch_looked_timestamp_seconds", "When the watch last looked.", prometheus.GaugeValue, nil},
	{"gate_alert_firing", "1 for each alert that fires.", prometheus.GaugeValue, []string{"alert", "severity"}},
	{"gate_alert_queue", "Messages that nobody has taken yet.", prometheus.GaugeValue, nil},
	{"gate_alert_route_failing_seconds", "For how long a route has taken nothing; 0: it works.", prometheus.GaugeValue, []string{"route"}},
	{"gate_heartbeat_timestamp_seconds", "When the heartbeat was last taken.", prometheus.GaugeValue, nil},
	{"gate_requests_total", "Requests of clients.", prometheus.CounterValue, nil},
	{"gate_request_errors_total", "Requests of clients that ended in errors of the service.", prometheus.CounterValue, nil},
	{"gate_instances_ready", "Instances that may get traffic.", prometheus.GaugeValue, nil},
	{"gate_instances_declared", "Instances that must serve at least.", prometheus.GaugeValue, nil},
	{"gate_instance_restarts_total", "Instances that ended unasked.", prometheus.CounterValue, nil},
	{"gate_database_up", "1 while the database can be reached.", prometheus.GaugeValue, nil},
	{"gate_certificate_not_after_timestamp_seconds", "When the certificate ends.", prometheus.GaugeValue, nil},
	{"gate_disk_used_bytes", "Bytes in use.", prometheus.GaugeValue, []string{"path"}},
	{"gate_disk_limit_bytes", "Bytes that there are.", prometheus.GaugeValue, []string{"path"}},
	{"gate_backup_timestamp_seconds", "When the newest backup was made.", prometheus.GaugeValue, nil},
	{"gate_error_budget_burn", "How many times as fast as it may the error budget burns.", prometheus.GaugeValue, []string{"window"}},
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	constant := prometheus.Labels{"app": c.w.opt.App, "environment": c.w.opt.Environment}
	for _, m := range metrics {
		c.descs[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, constant)
		out <- c.descs[m.name]
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	types := map[string]prometheus.ValueType{}
	for _, m := range metrics {
		types[m.name] = m.typ
	}
	put := func(name string, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descs[name], types[name], v, labels...)
	}
	unix := func(name string, t time.Time) {
		if !t.IsZero() {
			put(name, float64(t.UnixNano())/1e9)
		}
	}
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	w := c.w
	s := w.State()
	d := w.opt.Notifier.State()
	w.mu.Lock()
	f, p, n := w.facts, w.probed, w.probes
	w.mu.Unlock()
	put("gate_probe_seconds_total", float64(n.ok), "ok")
	put("gate_probe_seconds_total", float64(n.failed), "failed")
	put("gate_probe_seconds_total", float64(n.missed), "missed")
	if f.Serving && n.ok+n.failed > 0 {
		put("gate_probe_up", flag(p.Failure == ""))
		put("gate_probe_duration_seconds", p.Took.Seconds())
	}
	unix("gate_watch_looked_timestamp_seconds", s.Looked)
	firing := map[string]bool{}
	for _, a := range s.Firing {
		firing[a.Alert] = true
	}
	for _, a := range checks.Alerts() {
		put("gate_alert_firing", flag(firing[a.Name]), a.Name, a.Severity)
	}
	put("gate_alert_queue", float64(s.Queued))
	for _, r := range f.Routes {
		seconds := 0.0
		if t := d.Failing[r]; !t.IsZero() {
			seconds = w.opt.Now().Sub(t).Seconds()
		}
		put("gate_alert_route_failing_seconds", seconds, r)
	}
	if s.Beat != nil {
		unix("gate_heartbeat_timestamp_seconds", s.Beat.Sent)
	}
	put("gate_requests_total", float64(f.Requests))
	put("gate_request_errors_total", float64(f.Errors))
	put("gate_instances_ready", float64(f.Ready))
	if f.Serving {
		put("gate_instances_declared", float64(f.Want))
	}
	put("gate_instance_restarts_total", float64(f.Restarts))
	put("gate_database_up", flag(f.Database == ""))
	unix("gate_certificate_not_after_timestamp_seconds", p.NotAfter)
	for _, u := range f.Disks {
		put("gate_disk_used_bytes", float64(u.Used), u.Path)
		put("gate_disk_limit_bytes", float64(u.Limit), u.Path)
	}
	if f.Backup != nil {
		unix("gate_backup_timestamp_seconds", f.Backup.Newest)
	}
	for name, minutes := range map[string]int{"5m": 5, "30m": 30, "1h": 60, "6h": 360} {
		put("gate_error_budget_burn", float64(w.meter.Failed(minutes))/float64(minutes*60)/budget, name)
	}
}
