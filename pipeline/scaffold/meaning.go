package scaffold

import (
	"regexp"
	"slices"
	"strings"
)

// Words by which settings are told apart.
var (
	// others are what else has an address: neither the service's own nor its database.
	others = strings.Fields(`REDIS MEMCACHE SMTP MAIL KAFKA NATS AMQP RABBITMQ MQTT METRICS PROMETHEUS PPROF DEBUG ADMIN GRPC OTEL OTLP JAEGER
		ZIPKIN STATSD VAULT CONSUL ETCD S3 AWS MONGO MONGODB MYSQL MARIADB SQLITE CLICKHOUSE ELASTIC ELASTICSEARCH UPSTREAM REMOTE PEER CLIENT
		TEST LDAP PROXY SSH OAUTH OIDC PUBLIC EXTERNAL WEBHOOK`)
	database  = strings.Fields(`DB DATABASE PG POSTGRES POSTGRESQL PGX SQL`)
	addresses = strings.Fields(`PORT ADDR ADDRESS LISTEN BIND`)
	sources   = strings.Fields(`URL DSN URI CONN CONNECTION STRING SOURCE`)
	fragments = strings.Fields(`HOST PORT USER USERNAME PASSWORD PASS NAME DBNAME SSLMODE`)
	private   = regexp.MustCompile(`(?i)(passw(or)?d|secret|token|api_?key|private_?key|credential|signing)`)
	numeral   = regexp.MustCompile(`^[0-9]+$`)
	// usual are variables that come from the system, not from whoever runs a service.
	usual = strings.Fields(`HOME PATH USER LOGNAME SHELL TMPDIR HOSTNAME TZ LANG LC_ALL PWD TERM CI NO_COLOR SSL_CERT_FILE SSL_CERT_DIR
		HTTP_PROXY HTTPS_PROXY NO_PROXY GOMAXPROCS GOMEMLIMIT GODEBUG XDG_CONFIG_HOME XDG_CACHE_HOME XDG_STATE_HOME`)
)

// Names that mean the service's own address, the most telling first.
var (
	listens   = strings.Fields(`PORT HTTP_PORT LISTEN_PORT SERVER_PORT SERVICE_PORT APP_PORT API_PORT WEB_PORT LISTEN_ADDR LISTEN_ADDRESS HTTP_ADDR HTTP_ADDRESS HTTP_LISTEN SERVER_ADDR SERVER_ADDRESS SERVICE_ADDR APP_ADDR BIND_ADDR BIND_ADDRESS ADDR ADDRESS LISTEN BIND`)
	databases = strings.Fields(`DATABASE_URL DATABASE_DSN DB_URL DB_DSN PG_DSN PG_URL POSTGRES_URL POSTGRES_DSN POSTGRESQL_URL DSN`)
)

// chosen is the setting of those that mean the same which is taken, and the rest.
type chosen struct {
	setting
	rest []setting
}

// best takes the one of the settings that the list names first; the only one
// where there is no other. A variable goes before a flag.
func best(all []setting, list []string) (chosen, bool) {
	rank := func(s setting) int {
		i := slices.Index(list, strings.Join(s.words(), "_"))
		if i < 0 {
			i = len(list)
		}
		if s.flag {
			i += 1000
		}
		return i
	}
	slices.SortStableFunc(all, func(a, b setting) int { return rank(a) - rank(b) })
	if len(all) == 0 || len(all) > 1 && rank(all[0])%1000 == len(list) {
		return chosen{rest: all}, false
	}
	return chosen{all[0], all[1:]}, true
}

// address is the setting that says where the service listens.
func address(all []setting) (chosen, bool) {
	var found []setting
	for _, s := range all {
		if s.ends(addresses) && !s.of(others) && !s.of(database) {
			found = append(found, s)
		}
	}
	return best(found, listens)
}

// beside are settings with which the program may listen elsewhere, too. All
// instances of an environment run on one machine and can't share such a port.
func beside(all []setting) []setting {
	var found []setting
	for _, s := range all {
		if s.sure && s.ends(addresses) && s.of(strings.Fields(`METRICS PROMETHEUS PPROF DEBUG ADMIN GRPC`)) {
			found = append(found, s)
		}
	}
	return found
}

// port says whether the setting takes a port alone; else it takes host:port.
// The default beside it knows better than the name.
func (s setting) port() bool {
	switch {
	case numeral.MatchString(s.value):
		return true
	case strings.Contains(s.value, ":"):
		return false
	}
	return s.ends([]string{"PORT"})
}

// connection is the setting that takes the URL of the database.
func connection(all []setting) (chosen, bool) {
	var found []setting
	for _, s := range all {
		if s.of(others) {
			continue
		}
		name := strings.Join(s.words(), "_")
		if slices.Contains(databases, name) || s.of(database) && s.ends(sources) || s.flag && slices.Contains(database, name) {
			found = append(found, s)
		}
	}
	return best(found, databases)
}

// pieces are settings that take a part of the database's address each.
func pieces(all []setting) []setting {
	var found []setting
	for _, s := range all {
		if s.sure && !s.of(others) && (s.of(database) && s.ends(fragments) || strings.HasPrefix(s.name, "PG") && slices.Contains(fragments, strings.TrimPrefix(s.name, "PG"))) {
			found = append(found, s)
		}
	}
	return found
}

// further are variables of the program that were not taken for anything.
func further(all []setting, taken ...setting) []setting {
	var found []setting
	for _, s := range all {
		if s.sure && !s.flag && !slices.Contains(usual, s.name) && !slices.ContainsFunc(taken, func(t setting) bool { return t.name == s.name && !t.flag }) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	return found
}
