package cluster

import (
	"net"
	"net/url"
	"strconv"
)

// AppURL is what instances connect with: it may read and write rows, no more.
// It is a secret. It changes when another program has taken the port while the
// server was down; compare it after EnsureRunning.
func (c *Cluster) AppURL() string { return c.url(c.appRole(), c.secrets.App, c.name, false) }

// MigratorURL is what migrations connect with: it owns the database and its
// schema. It is a secret.
func (c *Cluster) MigratorURL() string {
	return c.url(c.migratorRole(), c.secrets.Migrator, c.name, false)
}

// AdminURL is the superuser's URL of an own cluster, by unix socket where its
// path is short enough, or the given URL with the app's database. It is a
// secret.
func (c *Cluster) AdminURL() string { return c.adminURL(c.name) }

// adminURL reaches another database; "" is the one that is always there.
func (c *Cluster) adminURL(database string) string {
	if !c.external {
		if database == "" {
			database = "postgres"
		}
		return c.url(adminRole, c.secrets.Admin, database, true)
	}
	u := *c.server
	if database != "" {
		u.Path = "/" + database
		u.RawQuery = without(u.Query(), "dbname", "database")
	}
	return u.String()
}

func (c *Cluster) url(user, password, database string, admin bool) string {
	if c.external {
		u := *c.server
		u.User = url.UserPassword(user, password)
		u.Path = "/" + database
		u.RawQuery = without(u.Query(), "user", "password", "passfile", "dbname", "database")
		return u.String()
	}
	c.mu.Lock()
	port := c.port
	c.mu.Unlock()
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Path: "/" + database}
	query := url.Values{"sslmode": {"disable"}}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if dir := c.socketDir(port); admin && dir != "" {
		u.Host = ""
		query.Set("host", dir)
		query.Set("port", strconv.Itoa(port))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func without(query url.Values, names ...string) string {
	for _, name := range names {
		query.Del(name)
	}
	return query.Encode()
}

func (c *Cluster) appRole() string      { return c.name + "_app" }
func (c *Cluster) migratorRole() string { return c.name + "_migrator" }

// Passwords are those that this package has made, and the given one, by what
// they are for. They are secrets.
func (c *Cluster) Passwords() map[string]string {
	out := map[string]string{"database app": c.secrets.App, "database migrator": c.secrets.Migrator}
	if c.external {
		if password, ok := c.server.User.Password(); ok {
			out["database given"] = password
		}
		if password := c.server.Query().Get("password"); password != "" {
			out["database given"] = password
		}
	} else {
		out["database admin"] = c.secrets.Admin
	}
	return out
}
