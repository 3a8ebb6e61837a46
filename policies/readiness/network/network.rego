# METADATA
# title: Network
# description: private subnets
# schemas:
#   - input: schema.input
package gate.readiness.network

import data.gate.lib

# METADATA
# title: Nothing exposed
# description: private subnets
# custom:
#   remediation: "have what is named listen on 127.0.0.1 (app.yaml's serve.env says where an instance listens); only the load balancer may be reached"
criterion := lib.conclude({
	"id": "network",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("at most %d listeners beyond loopback but the load balancer", [limits.max_exposed]),
	"next": {"inconclusive": lib.measure("network"), "error": lib.measure("network")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.network

# METADATA
# title: Evidence
# description: of check network
evidence := lib.weighed("network", "network")

# METADATA
# title: Shape of the payload
# description: checks.NetworkPayload
shape := {
	"declared": "text",
	"balancer": "flag",
	"looks": "count",
	"processes": "count",
	"instances": "count",
	"listeners": "array",
	"exposed": "count",
}

# METADATA
# title: Shape of a listener
# description: checks.NetworkListener
listener_shape := {"protocol": "text", "address": "text", "port": "count", "role": "text", "process": "text"}

# METADATA
# title: Faults of a payload
# description: of itself and of each listener
faults(p) := lib.faults(p, shape, "payload") | {fault |
	some l in array.concat(p.listeners, exposures(p))
	some fault in lib.faults(l, listener_shape, "listener")
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(faults(p)) if {
	count(faults(p)) > 0
} else := lib.ruled(rows(p), got(p), "")

# METADATA
# title: Demands on what listens
# description: nothing exposed, and enough looked at for that to mean something
rows(p) := [
	lib.row(p.exposed <= limits.max_exposed, "fail", sprintf("%d listeners can be reached from outside, at most %d may%s", [p.exposed, limits.max_exposed, places(p)])),
	lib.row(p.exposed == count(exposures(p)), "error", sprintf("%d exposed listeners are counted and %d are named", [p.exposed, count(exposures(p))])),
	lib.row(p.balancer == true, "inconclusive", "the load balancer itself was not seen"),
	lib.row(count(p.listeners) >= limits.min_listeners, "inconclusive", sprintf("%d listeners were seen, at least %d", [count(p.listeners), limits.min_listeners])),
	lib.row(p.instances >= limits.min_instances, "inconclusive", sprintf("%d instances were seen to listen, at least %d", [p.instances, limits.min_instances])),
	lib.row(p.looks >= limits.min_looks, "inconclusive", sprintf("the sockets were read %d times, at least %d", [p.looks, limits.min_looks])),
]

# METADATA
# title: Exposed listeners
# description: absent and null are none
exposures(p) := p.exposures if {
	is_array(p.exposures)
} else := []

# METADATA
# title: Places of exposed listeners
# description: who listens where
places(p) := sprintf(": %s", [concat(", ", [sprintf("%v on %v %v port %v", [l.process, l.protocol, l.address, l.port]) | some l in exposures(p)])]) if {
	count(exposures(p)) > 0
} else := ""

# METADATA
# title: What was got
# description: exposed listeners of all that were seen
got(p) := sprintf("%d of %d listeners of %d processes exposed beside %s", [p.exposed, count(p.listeners), p.processes, p.declared])
