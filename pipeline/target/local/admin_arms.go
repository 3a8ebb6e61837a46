package local

import (
	"context"
	"net/http"
	"time"

	"github.com/smartcloudops/gate/pipeline/target"
)

const pathArms = "/v1/arms"

// armsRoute shows people what a canary is judged by.
func (d *Daemon) armsRoute(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathArms, func(w http.ResponseWriter, r *http.Request) {
		a, err := d.Arms(r.Context())
		answer(w, a, err)
	})
}

// Arms are the figures of both sides since the canary began.
func (c *Client) Arms(ctx context.Context) (a target.Arms, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = c.call(ctx, http.MethodGet, pathArms, nil, &a)
	return a, err
}
