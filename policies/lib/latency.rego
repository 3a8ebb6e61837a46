# How a drill may be felt by those who are served.
package gate.lib

# METADATA
# title: Latency as before
# description: within the ratio of the quiet p95, or within the slack, by which small latencies differ anyhow
default is_calm(_, _) := false

is_calm(p, limits) if p.p95 <= p.quiet_p95 * limits.max_p95_ratio

is_calm(p, limits) if p.p95 <= p.quiet_p95 + limits.slack_seconds

# METADATA
# title: Demands on the latency under a drill
# description: slower warns; what was not measured shows nothing
calm(p, limits) := [
	row(p.quiet_p95 > 0, "inconclusive", "no latency was measured before the drill"),
	row(p.p95 > 0, "inconclusive", "no latency was measured during the drill"),
	row(is_calm(p, limits), "warn", sprintf("p95 was %s s during the drill and %s s before it, at most %v times that or %v s more", [fixed(p.p95, 3), fixed(p.quiet_p95, 3), limits.max_p95_ratio, limits.slack_seconds])),
]
