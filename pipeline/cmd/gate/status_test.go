package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/promotion"
)

func TestWhyNobodyWatchesAnyMore(t *testing.T) {
	moving := func(context.Context) (bool, error) { return true, nil }
	asking := func(ctx context.Context) (bool, error) {
		<-ctx.Done()
		return false, ctx.Err()
	}
	for name, show := range map[string]func(context.Context) (bool, error){"between two looks": moving, "in a look": asking} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		err := (&StatusCmd{Watch: true, Timeout: time.Minute}).watch(ctx, show)
		if exit := new(Exit); !errors.As(err, &exit) || exit.Code != promotion.CodeInternal || !strings.Contains(err.Error(), "stopped watching") {
			t.Errorf("somebody has had enough %s: %v", name, err)
		}
		err = (&StatusCmd{Watch: true, Timeout: 20 * time.Millisecond}).watch(t.Context(), show)
		if err == nil || !strings.Contains(err.Error(), "still moving after 20ms") {
			t.Errorf("the time is over %s: %v", name, err)
		}
	}
	boom := errors.New("boom")
	if err := (&StatusCmd{Watch: true, Timeout: time.Minute}).watch(t.Context(), func(context.Context) (bool, error) { return true, boom }); !errors.Is(err, boom) {
		t.Errorf("it can't be told: %v", err)
	}
	if err := (&StatusCmd{Timeout: time.Minute}).watch(t.Context(), moving); err != nil {
		t.Errorf("once: %v", err)
	}
}
