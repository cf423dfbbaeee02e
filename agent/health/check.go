package health

import (
	"context"
	"fmt"
	"time"
)

// Defaults for what a check leaves open.
const (
	DefaultInterval = 10 * time.Second
	DefaultTimeout  = 5 * time.Second
	DefaultFailures = 3
)

// Check is one task's health check. Zero fields take the defaults; a zero StartPeriod is none.
type Check struct {
	// Probe returns nil when the task works. It must return when its context is done.
	Probe       func(context.Context) error
	Interval    time.Duration
	Timeout     time.Duration
	Failures    int
	StartPeriod time.Duration
}

// Run probes until ctx is done, first after one interval. It calls changed with nil when the task becomes healthy and
// with the last failure when it becomes unhealthy.
func (c Check) Run(ctx context.Context, changed func(error)) {
	c = c.withDefaults()
	begun := time.Now()
	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()
	known, healthy, failed := false, false, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := c.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failed = 0
			if !known || !healthy {
				known, healthy = true, true
				changed(nil)
			}
			continue
		}
		if !known && time.Since(begun) < c.StartPeriod {
			continue
		}
		if failed++; failed >= c.Failures && (!known || healthy) {
			known, healthy = true, false
			changed(fmt.Errorf("%d health checks in a row failed, the last one: %w", failed, err))
		}
	}
}

func (c Check) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	err := c.Probe(ctx)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("no answer within %v", c.Timeout)
	}
	return err
}

func (c Check) withDefaults() Check {
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Failures <= 0 {
		c.Failures = DefaultFailures
	}
	return c
}
