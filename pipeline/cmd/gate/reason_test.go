package main

import (
	"errors"
	"testing"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

// TestABlankReasonIsNone: least of all may it lift a hold.
func TestABlankReasonIsNone(t *testing.T) {
	for _, blank := range []string{"", " ", "\t\n"} {
		for name, err := range map[string]error{
			"hold":     (&HoldCmd{Environment: "production", Reason: blank}).Run(t.Context(), &Globals{}),
			"waive":    (&WaiveCmd{Criterion: "load", Env: "production", Reason: blank}).Run(t.Context(), &Globals{}),
			"override": (*session)(nil).mayOverride(nil, promotion.Request{Environment: "production", Reason: blank}),
		} {
			if exit := new(Exit); !errors.As(err, &exit) || exit.Code != promotion.CodeUsage {
				t.Errorf("%s with the reason %q: %v", name, blank, err)
			}
		}
	}
}
