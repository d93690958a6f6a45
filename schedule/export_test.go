package schedule

import (
	"context"
	"errors"
)

// Tick makes the next tick of each schedule that is due. It returns the errors of all schedules.
func (c *Clock) Tick(ctx context.Context) error {
	var errs []error
	for _, s := range c.schedules {
		_, err := c.tick(ctx, s)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
