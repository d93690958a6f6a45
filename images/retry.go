package images

import (
	"cmp"
	"math/rand/v2"
	"time"

	"tiwsnap/ledger"
)

const (
	// giveUpBefore is how long before their deletion by Tencent images are given up.
	giveUpBefore = time.Hour
	// retryFirst and retryMax bound the delay between two attempts at an image. In between it is a quarter of the time
	// since the snapshot ended.
	retryFirst, retryMax = 2 * time.Second, 10 * time.Minute
	// warnEvery is the time between two log lines about images that were not copied.
	warnEvery = time.Minute
)

// copyFailed counts and logs a failed attempt. It marks the pending images as lost if Tencent is about to delete them.
func (c *Copier) copyFailed(s *ledger.Snapshot, err error) {
	if time.Now().Before(giveUpAt(*s)) {
		c.copied.WithLabelValues("failed").Inc()
		c.warn(s.ID, err)
		return
	}
	for i, copy := range s.Copies {
		if copy.State == ledger.Pending {
			s.Copies[i].State = ledger.Lost
			c.copied.WithLabelValues("lost").Inc()
			c.Log.Error("image lost: it could not be copied before Tencent deletes it", "id", s.ID, "image", i+1, "err", err)
		}
	}
}

// warn logs a failed attempt at most once in warnEvery, with the number of failures since the last line.
func (c *Copier) warn(id string, err error) {
	c.mu.Lock()
	c.unlogged++
	n := c.unlogged
	due := time.Since(c.warned) >= warnEvery
	if due {
		c.warned, c.unlogged = time.Now(), 0
	}
	c.mu.Unlock()
	if due {
		c.Log.Warn("cannot copy images, retrying; id and err are of the newest failure",
			"failures", n, "id", id, "err", err)
	}
}

// giveUpAt returns when the images of a snapshot are given up. Images in a bucket of the user are not deleted then, but
// retries must end.
func giveUpAt(s ledger.Snapshot) time.Time {
	return cmp.Or(s.AcceptedAt, s.EndedAt).Add(ledger.TencentKeeps - giveUpBefore)
}

// retryDelay returns the delay before the next attempt at the images of a snapshot, with jitter.
func (c *Copier) retryDelay(s ledger.Snapshot) time.Duration {
	seconds := func(d time.Duration) time.Duration {
		return time.Duration(d.Seconds() * float64(c.Second))
	}
	d := min(max(time.Since(s.EndedAt)/4, seconds(retryFirst)), seconds(retryMax))
	return d + rand.N(d/4+1)
}

// brief returns the text of an error, cut to the length that a record keeps.
func brief(err error) string {
	const most = 200
	text := err.Error()
	return text[:min(len(text), most)]
}
