package checks

import "fmt"

// What limits a service, as it stands in evidence.
const (
	limitProcessor   = "cpu"
	limitLocks       = "locks"
	limitConnections = "connections"
	limitService     = "service"    // none of those: it waits for something of its own
	limitGenerator   = "generator"  // the meter, so the service may well do more
	limitNeighbours  = "neighbours" // other processes of the machine: likewise
	limitUnknown     = "unknown"    // nobody could look
)

// Shares at which a resource counts as used up.
const (
	busyProcessor = 0.9
	busyOthers    = 0.25 // of the machine, by processes that have nothing to do with it
	busyActive    = 0.8  // of the app's connections
	busyWaiting   = 0.5  // of the active ones
)

// loadLimitOf names what limited a step that was too much, and why. The order
// is that of causes: a generator that lags says nothing of the service; with the
// processors used up connections stay busy, and waiting for a lock keeps a
// connection.
func loadLimitOf(g GeneratorFacts, u *Usage) (limit, why string) {
	if why := loadUnsound(g, loadMaxLag); why != "" {
		return limitGenerator, why
	}
	switch {
	case u == nil:
		return limitUnknown, "nobody could read what the environment used"
	case u.Machine >= busyProcessor && u.Others >= busyOthers:
		return limitNeighbours, fmt.Sprintf("other processes used %.0f%% of the machine's processors, and %.0f%% were busy", u.Others*100, u.Machine*100)
	case u.Machine >= busyProcessor:
		return limitProcessor, fmt.Sprintf("%.0f%% of the machine's processors were busy: instances %.0f%%, database %.0f%%, balancer %.0f%%, generator %.0f%%",
			u.Machine*100, u.Instances*100, u.Database*100, u.Balancer*100, u.Generator*100)
	case u.Busiest >= busyProcessor:
		return limitProcessor, fmt.Sprintf("an instance used %.0f%% of the processors that it may run on", u.Busiest*100)
	case u.Limit > 0 && u.Active >= 1 && u.Waiting >= busyWaiting*u.Active:
		return limitLocks, fmt.Sprintf("%.1f of %.1f busy database connections waited for a lock", u.Waiting, u.Active)
	case u.Limit > 0 && u.Server >= float64(u.Limit):
		return limitConnections, fmt.Sprintf("the database's %d connections were all taken", u.Limit)
	case u.Limit > 0 && u.Active >= busyActive*u.Connections && u.Active > 0:
		return limitConnections, fmt.Sprintf("%.1f of the %.1f database connections that the app has were busy", u.Active, u.Connections)
	case u.Limit == 0:
		return limitUnknown, "the processors had room, and the database could not be read"
	}
	return limitService, fmt.Sprintf("processors (%.0f%% busy), database connections (%.1f of %.1f) and locks had room: the service waited for something of its own",
		u.Machine*100, u.Active, u.Connections)
}

// loadOwn says whether a limit is the service's and not the meter's.
func loadOwn(limit string) bool { return limit != limitGenerator && limit != limitNeighbours }
