package images

import (
	"context"
	"time"
)

// probeMax bounds the time between two checks of a failing store, and the duration of a check. The time doubles.
const probeMax = 30 * time.Second

// checkStore checks the store at the start, so that a wrong setting shows before the first image. If the store works,
// it clears the trouble that an earlier process has reported.
func (c *Copier) checkStore(ctx context.Context) {
	check, cancel := context.WithTimeout(ctx, probeMax)
	defer cancel()
	err := Check(check, c.Store)
	if err != nil && ctx.Err() == nil {
		c.storeFailed(err)
		return
	}
	c.reportStore(ctx, nil)
}

// storeErr returns why the store fails, or nil.
func (c *Copier) storeErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// reportStore makes err visible to other processes; nil means that the store works.
func (c *Copier) reportStore(ctx context.Context, err error) {
	why := ""
	if err != nil {
		why = brief(err)
	}
	if err := c.Ledger.ReportCopyTrouble(ctx, why); err != nil && ctx.Err() == nil {
		c.Log.Warn("cannot report the state of the image store", "err", err)
	}
}

// storeFailed pauses the copier until the store works again.
func (c *Copier) storeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil {
		c.trouble = err
		c.up.Set(0)
		c.Log.Error("image store failed: images wait, sending goes on", "err", err)
	}
}

// waitForStore returns at once if the store works. Else it checks the store with backoff until it works (true) or ctx
// ends (false).
func (c *Copier) waitForStore(ctx context.Context) bool {
	err := c.storeErr()
	for wait := c.Second; err != nil; wait = min(2*wait, probeMax) {
		c.reportStore(ctx, err)
		if !pause(ctx, wait) {
			return false
		}
		check, cancel := context.WithTimeout(ctx, probeMax)
		err = Check(check, c.Store)
		cancel()
	}
	c.mu.Lock()
	failed := c.trouble != nil
	c.trouble = nil
	c.mu.Unlock()
	if failed {
		c.up.Set(1)
		c.Log.Info("image store works again")
		c.reportStore(ctx, nil)
	}
	return ctx.Err() == nil
}
