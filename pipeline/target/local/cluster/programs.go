package cluster

import "context"

// Programs returns the folder with the PostgreSQL programs that a new cluster
// would be run from, by the same choice as Open, and downloads them where there
// are none and a Cache is named. Of the options only BinDir, Path, Cache,
// Repository and Log count.
func Programs(ctx context.Context, o Options) (string, error) {
	c := &Cluster{log: o.Log}
	var err error
	if c.runner, err = pickRunner(""); err != nil {
		return "", err
	}
	b, err := c.findBinaries(ctx, o, 0)
	return b.dir, err
}
