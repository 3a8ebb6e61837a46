package postgres

import "github.com/prometheus/client_golang/prometheus"

var (
	poolConnections = prometheus.NewDesc("db_pool_connections", "Connections to the database by state.", []string{"state"}, nil)
	poolLimit       = prometheus.NewDesc("db_pool_connections_max", "Most connections that the pool may open.", nil, nil)
	poolAcquires    = prometheus.NewDesc("db_pool_acquires_total", "Connections taken from the pool.", nil, nil)
	poolWaits       = prometheus.NewDesc("db_pool_waits_total", "Acquires that had to wait for a connection.", nil, nil)
	poolWaited      = prometheus.NewDesc("db_pool_acquire_seconds_total", "Time spent acquiring connections.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConnections, poolLimit, poolAcquires, poolWaits, poolWaited} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	st := s.pool.Stat()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	gauge(poolConnections, float64(st.AcquiredConns()), "busy")
	gauge(poolConnections, float64(st.IdleConns()), "idle")
	gauge(poolConnections, float64(st.ConstructingConns()), "opening")
	gauge(poolLimit, float64(st.MaxConns()))
	count(poolAcquires, float64(st.AcquireCount()))
	count(poolWaits, float64(st.EmptyAcquireCount()))
	count(poolWaited, st.AcquireDuration().Seconds())
}
