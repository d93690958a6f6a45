package images

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

const (
	// imagesInFlight bounds the images that one process copies at a time, and snapshotsLeased the snapshots.
	imagesInFlight, snapshotsLeased = 64, 64
	// copyBuffer is the size of the buffer of one image in flight, in bytes: all 64 take 2 MB.
	copyBuffer = 32 << 10
	// copyWithin bounds the duration of one copy: fetching and storing.
	copyWithin = 5 * time.Minute
	// pollEvery is the time between two polls of an empty queue.
	pollEvery = 250 * time.Millisecond
)

// CopierOptions are the settings of a Copier. Store, Fetcher, Ledger and Results
// are required.
type CopierOptions struct {
	Store   Store
	Fetcher *Fetcher
	Ledger  *ledger.Ledger
	Results *results.Reader
	All     bool                  // also copy images that are in buckets of the user
	Keep    time.Duration         // age at which copies are deleted, since the last write; 0: never
	Lease   time.Duration         // lease on a snapshot: if a copier dies another takes it after this; default 1 min
	Second  time.Duration         // unit of retry delays; default 1 s, tests shorten it
	Log     *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none
}

// Copier copies images into a store and writes the lists beside them. Any number of copiers may share one store.
type Copier struct {
	CopierOptions
	slots    chan struct{} // one for each image in flight
	buffers  sync.Pool
	released chan struct{} // signals that a leased snapshot is done

	mu       sync.Mutex
	leased   map[string]bool  // ids of the snapshots that this process copies
	hosts    map[string]*host // hosts that images are being read from, or that fail
	trouble  error            // why the store fails; nil while it works
	warned   time.Time        // time of the last log line about images that were not copied
	unlogged int              // failures since then

	copied *prometheus.CounterVec
	bytes  prometheus.Counter
	up     prometheus.Gauge
}

// NewCopier returns a copier. It does not touch the store.
func NewCopier(o CopierOptions) *Copier {
	o.Lease, o.Second = cmp.Or(o.Lease, time.Minute), cmp.Or(o.Second, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := promauto.With(o.Metrics)
	c := &Copier{
		CopierOptions: o,
		slots:         make(chan struct{}, imagesInFlight),
		buffers:       sync.Pool{New: func() any { return new([copyBuffer]byte) }},
		released:      make(chan struct{}, 1),
		leased:        map[string]bool{},
		hosts:         map[string]*host{},
		copied: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tiwsnap_image_copies_total",
			Help: "Attempts to copy an image by result: copied, failed or lost.",
		}, []string{"result"}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "tiwsnap_image_copied_bytes_total",
			Help: "Bytes of copied images.",
		}),
		up: f.NewGauge(prometheus.GaugeOpts{
			Name: "tiwsnap_image_store_up",
			Help: "1 if the image store accepts copies, else 0.",
		}),
	}
	c.up.Set(1)
	return c
}

// Copies reports whether the images of a room are copied.
func (c *Copier) Copies(r tasks.Room) bool { return r.COS == nil || c.All }

// Run copies until ctx ends. Then it returns its leases, so that another process can go on at once.
func (c *Copier) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { c.copyAll(ctx) })
	loops.Go(func() { c.renewLeases(ctx) })
	loops.Go(func() { c.archiveAll(ctx) })
	loops.Go(func() { c.cleanUp(ctx) })
	loops.Wait()
}

func (c *Copier) copyAll(ctx context.Context) {
	var copying sync.WaitGroup
	defer copying.Wait()
	c.checkStore(ctx)
	for ctx.Err() == nil {
		if !c.waitForStore(ctx) {
			continue
		}
		free := snapshotsLeased - c.leases()
		if free == 0 {
			select {
			case <-c.released:
			case <-ctx.Done():
			}
			continue
		}
		got, err := c.Ledger.TakeCopies(ctx, free, c.Lease)
		if err != nil {
			if ctx.Err() == nil {
				c.Log.Warn("cannot take images to copy, retrying", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		for _, s := range got {
			if !c.take(s.ID) {
				continue // still being copied: the lease ran out while this process was suspended
			}
			copying.Go(func() {
				defer c.release(s.ID)
				c.copySnapshot(ctx, s)
			})
		}
		if len(got) < free {
			pause(ctx, pollEvery)
		}
	}
}

// leases returns how many snapshots this process copies.
func (c *Copier) leases() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.leased)
}

// take marks a snapshot as being copied. It returns false if it is marked already.
func (c *Copier) take(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leased[id] {
		return false
	}
	c.leased[id] = true
	return true
}

func (c *Copier) release(id string) {
	c.mu.Lock()
	delete(c.leased, id)
	c.mu.Unlock()
	select {
	case c.released <- struct{}{}:
	default:
	}
}

func (c *Copier) renewLeases(ctx context.Context) {
	for pause(ctx, c.Lease/3) {
		c.mu.Lock()
		ids := slices.Collect(maps.Keys(c.leased))
		c.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		if err := c.Ledger.RenewCopies(ctx, ids, c.Lease); err != nil && ctx.Err() == nil {
			c.Log.Warn("cannot renew the leases on images: some may be copied twice, which is harmless", "err", err)
		}
	}
}

// copySnapshot copies the pending images of a snapshot and records the results.
func (c *Copier) copySnapshot(ctx context.Context, s ledger.Snapshot) {
	err := c.setFolder(ctx, &s)
	var mu sync.Mutex
	if err == nil {
		s.CopyProblem = ""
		var all errgroup.Group
		for i, copy := range s.Copies {
			if copy.State != ledger.Pending {
				continue
			}
			all.Go(func() error {
				format, err := c.copyImage(ctx, s, i+1)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					s.Copies[i] = ledger.Copy{State: ledger.Copied, Format: string(format)}
				}
				return err
			})
		}
		err = all.Wait()
	}
	wait := c.retryDelay(s)
	var storeErr *StoreError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		wait = 0
	case errors.As(err, &storeErr):
		c.storeFailed(err)
		s.CopyProblem, wait = brief(err), c.Second
	default:
		s.CopyProblem = brief(err)
		c.copyFailed(&s, err)
	}
	write, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = c.Ledger.Copied(write, s, wait)
	if err == nil && s.Batch == "" && s.Count(ledger.Copied) > 0 {
		err = c.Ledger.TouchFolder(write, path.Dir(Folder(s))) // the folder of the day
	}
	if err != nil && !errors.Is(err, ledger.ErrLate) {
		c.Log.Warn("cannot record the copies of a snapshot: they will be made again", "id", s.ID, "err", err)
	}
}

// copyImage copies image n of a snapshot, from 1.
func (c *Copier) copyImage(ctx context.Context, s ledger.Snapshot, n int) (Format, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-c.slots }()
	leave, err := c.enterHost(s.Images[n-1])
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, copyWithin)
	defer cancel()
	img, err := c.Fetcher.Open(ctx, s.Images[n-1])
	if err != nil {
		leave(err)
		return "", err
	}
	defer img.Close()
	err = c.Store.Put(ctx, path.Join(Folder(s), strconv.Itoa(n)+"."+string(img.Format)), img.Format.MediaType(),
		func(w io.Writer) error {
			buffer := c.buffers.Get().(*[copyBuffer]byte)
			defer c.buffers.Put(buffer)
			// ReadFrom and WriteTo, which would allocate buffers of their own, are hidden.
			_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{img}, buffer[:])
			leave(err)
			return err
		})
	if err != nil {
		return "", err
	}
	c.copied.WithLabelValues("copied").Inc()
	c.bytes.Add(float64(img.n))
	return img.Format, nil
}

// setFolder sets the folder of the snapshot's batch.
func (c *Copier) setFolder(ctx context.Context, s *ledger.Snapshot) (err error) {
	if s.Folder == "" && s.Batch != "" {
		s.Folder, err = c.folderOf(ctx, s.Batch)
	}
	return err
}

// folderOf returns the folder of a batch and chooses one if it has none: the id of the batch, or ID-2, ID-3 and so on
// if an earlier batch of the same id has left copies.
func (c *Copier) folderOf(ctx context.Context, batch string) (string, error) {
	for n := 1; ; n++ {
		folder := batch
		if n > 1 {
			folder += "-" + strconv.Itoa(n)
		}
		holds, err := c.Store.Holds(ctx, folder)
		if err != nil {
			return "", err
		}
		if !holds {
			// All copiers agree on the folder before the first one writes into it.
			return c.Ledger.CopyFolder(ctx, batch, folder)
		}
	}
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
