// Command registry keeps images in memory, for who gives the right password.
// try.sh compiles it with the repository's modules.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	keep := registry.New(registry.Logger(log.New(os.Stderr, "", 0)))
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "try" || password != os.Getenv("TRY_PASSWORD") {
			w.Header().Set("WWW-Authenticate", `Basic realm="try"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		keep.ServeHTTP(w, r)
	})))
}
