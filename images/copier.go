package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
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
	// imagesInFlight bounds the images that one process copies at a time, and
	// snapshotsInHand the snapshots that it has taken.
	imagesInFlight, snapshotsInHand = 64, 64
	// copyBuffer is read at a time, in bytes: 64 of them are 2 MB.
	copyBuffer = 32 << 10
	// copyWithin bounds the copy of one image, the store's part included.
	copyWithin = 5 * time.Minute
	// stopBefore is how long before their deletion by Tencent images are given up.
	stopBefore = time.Hour
	// retryFirst and retryMax bound the time between two tries of an image: it is a
	// quarter of the age of its snapshot's end.
	retryFirst, retryMax = 2 * time.Second, 10 * time.Minute
	// probeMax bounds the time between two looks at a store that fails; it doubles.
	probeMax = 30 * time.Second
	// lookEvery is the time between two looks at an empty queue.
	lookEvery = 250 * time.Millisecond
	// badHost is after how many failures in a row a host gets badHostShare of the
	// images in flight, so that nobody else waits for it.
	badHost, badHostShare = 8, 8
)

// CopierOptions are the settings of a Copier. Store, Fetcher, Ledger and Results
// are required.
type CopierOptions struct {
	Store   Store
	Fetcher *Fetcher
	Ledger  *ledger.Ledger
	Results *results.Reader
	All     bool                  // copy images in buckets of the users' own, too
	Keep    time.Duration         // copies are deleted that long after they were last written; 0: never
	Lease   time.Duration         // how long nobody else takes what a copier has in hand that dies; default 1 min
	Second  time.Duration         // how long a second between two tries lasts; default 1 s, tests make it shorter
	Log     *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: nobody sees them
}

// Copier copies images into a store and writes the lists beside them. Any number
// may work on one store.
type Copier struct {
	CopierOptions
	slots   chan struct{} // one for each image in flight
	buffers sync.Pool
	left    chan struct{} // something in hand is done

	mu      sync.Mutex
	hand    map[string]bool  // snapshots
	hosts   map[string]*host // that images are read from, or that fail
	trouble error            // of the store, until it works again
	warned  time.Time        // when an image that is not copied was told of last
	untold  int              // how many there were since

	copied *prometheus.CounterVec
	bytes  prometheus.Counter
	up     prometheus.Gauge
}

// host is what is known of a host of images.
type host struct{ inFlight, failures int }

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
		left:          make(chan struct{}, 1),
		hand:          map[string]bool{},
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

// Run copies until ctx ends. What it has in hand then is due again at once.
func (c *Copier) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { c.copyAll(ctx) })
	loops.Go(func() { c.renewLeases(ctx) })
	loops.Go(func() { c.archiveAll(ctx) })
	loops.Go(func() { c.cleanUp(ctx) })
	loops.Wait()
}

func (c *Copier) copyAll(ctx context.Context) {
	var hands sync.WaitGroup
	defer hands.Wait()
	c.tryStore(ctx)
	for ctx.Err() == nil {
		if !c.storeWorks(ctx) {
			continue
		}
		free := snapshotsInHand - c.inHand()
		if free == 0 {
			select {
			case <-c.left:
			case <-ctx.Done():
			}
			continue
		}
		got, err := c.Ledger.TakeCopies(ctx, free, c.Lease)
		if err != nil {
			if ctx.Err() == nil {
				c.Log.Warn("copies of images wait", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		for _, s := range got {
			if !c.take(s.ID) {
				continue // its lease ran out while this process stood still
			}
			hands.Go(func() {
				defer c.release(s.ID)
				c.copySnapshot(ctx, s)
			})
		}
		if len(got) < free {
			pause(ctx, lookEvery)
		}
	}
}

func (c *Copier) inHand() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.hand)
}

func (c *Copier) take(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hand[id] {
		return false
	}
	c.hand[id] = true
	return true
}

func (c *Copier) release(id string) {
	c.mu.Lock()
	delete(c.hand, id)
	c.mu.Unlock()
	select {
	case c.left <- struct{}{}:
	default:
	}
}

func (c *Copier) renewLeases(ctx context.Context) {
	for pause(ctx, c.Lease/3) {
		c.mu.Lock()
		ids := slices.Collect(maps.Keys(c.hand))
		c.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		if err := c.Ledger.RenewCopies(ctx, ids, c.Lease); err != nil && ctx.Err() == nil {
			c.Log.Warn("images may be copied twice, which is harmless", "err", err)
		}
	}
}

// copySnapshot copies the images of a snapshot that are pending, and writes what
// became of them.
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
	wait := c.retryIn(s)
	var away *StoreError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		wait = 0
	case errors.As(err, &away):
		c.storeFailed(err)
		s.CopyProblem, wait = brief(err), c.Second
	default:
		s.CopyProblem = brief(err)
		c.giveUp(&s, err)
	}
	write, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = c.Ledger.Copied(write, s, wait)
	if err == nil && s.Batch == "" && s.Count(ledger.Copied) > 0 {
		err = c.Ledger.KeepFolder(write, path.Dir(Folder(s))) // that of its day
	}
	if err != nil && !errors.Is(err, ledger.ErrLate) {
		c.Log.Warn("copies of a snapshot are not noted, they are made again", "id", s.ID, "err", err)
	}
}

// giveUp counts what failed, and gives images up that Tencent is about to delete.
func (c *Copier) giveUp(s *ledger.Snapshot, err error) {
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

// warnEvery is how often it is told that images are not copied.
const warnEvery = time.Minute

// warn tells of an image that is not copied, and of others only how many they are.
func (c *Copier) warn(id string, err error) {
	c.mu.Lock()
	c.untold++
	n := c.untold
	tell := time.Since(c.warned) >= warnEvery
	if tell {
		c.warned, c.untold = time.Now(), 0
	}
	c.mu.Unlock()
	if tell {
		c.Log.Warn("images not copied, they are tried again; the newest of those since the last line",
			"failures", n, "id", id, "err", err)
	}
}

// giveUpAt is when it is too late to copy. Images in buckets of the users' own are
// not deleted, but not tried for ever either.
func giveUpAt(s ledger.Snapshot) time.Time {
	return cmp.Or(s.AcceptedAt, s.EndedAt).Add(ledger.TencentKeeps - stopBefore)
}

// retryIn is how long images wait that could not be copied.
func (c *Copier) retryIn(s ledger.Snapshot) time.Duration {
	seconds := func(d time.Duration) time.Duration {
		return time.Duration(d.Seconds() * float64(c.Second))
	}
	d := min(max(time.Since(s.EndedAt)/4, seconds(retryFirst)), seconds(retryMax))
	return d + rand.N(d/4+1)
}

// brief is an error as it is kept with the record.
func brief(err error) string {
	const most = 200
	text := err.Error()
	return text[:min(len(text), most)]
}

// copyImage copies image n of a snapshot.
func (c *Copier) copyImage(ctx context.Context, s ledger.Snapshot, n int) (Format, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-c.slots }()
	leave, err := c.enter(s.Images[n-1])
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
			// What has methods to copy faster would take a buffer of its own.
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

// enter lets an image be read from its host, unless that fails and has its share
// already. leave must be called with what came of it; only its first call counts.
func (c *Copier) enter(rawURL string) (leave func(error), err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, &FetchError{Host: "unknown host", Err: errors.New("its URL cannot be read")}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[u.Host]
	if h == nil {
		h = &host{}
		c.hosts[u.Host] = h
	}
	if h.failures >= badHost && h.inFlight >= badHostShare {
		return nil, &FetchError{Host: u.Host,
			Err: fmt.Errorf("%d images of it have failed in a row, others wait", h.failures)}
	}
	h.inFlight++
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			h.inFlight--
			var remote *FetchError
			switch {
			case err == nil:
				h.failures = 0
			case errors.As(err, &remote) && remote.Status == 0: // a host that answers holds nobody up
				h.failures++
			}
			if h.inFlight == 0 && (h.failures == 0 || len(c.hosts) > 1000) {
				delete(c.hosts, u.Host)
			}
		})
	}, nil
}

// setFolder gives the batch of a snapshot a folder of its own: another batch that
// had its id may have left copies.
func (c *Copier) setFolder(ctx context.Context, s *ledger.Snapshot) (err error) {
	if s.Folder == "" && s.Batch != "" {
		s.Folder, err = c.folderOf(ctx, s.Batch)
	}
	return err
}

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
			// Nobody has written into it before everybody agrees on it.
			return c.Ledger.CopyFolder(ctx, batch, folder)
		}
	}
}

// tryStore finds out at the start whether the store takes copies, so that nobody
// learns it with the first image, and what was told before is not told any more.
func (c *Copier) tryStore(ctx context.Context) {
	check, cancel := context.WithTimeout(ctx, probeMax)
	defer cancel()
	err := Check(check, c.Store)
	if err != nil && ctx.Err() == nil {
		c.storeFailed(err)
		return
	}
	if err := c.Ledger.ReportCopyTrouble(ctx, ""); err != nil && ctx.Err() == nil {
		c.Log.Warn("it cannot be told that the store takes copies", "err", err)
	}
}

// storeFailed stops the copier until the store works again.
func (c *Copier) storeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil {
		c.trouble = err
		c.up.Set(0)
		c.Log.Error("the store takes no copies: images wait, sending goes on", "err", err)
	}
}

// storeWorks reports whether the store takes copies. Where it has failed it looks
// again, at intervals that grow, until ctx ends.
func (c *Copier) storeWorks(ctx context.Context) bool {
	c.mu.Lock()
	err := c.trouble
	c.mu.Unlock()
	for wait := c.Second; err != nil; wait = min(2*wait, probeMax) {
		if err := c.Ledger.ReportCopyTrouble(ctx, brief(err)); err != nil && ctx.Err() == nil {
			c.Log.Warn("it cannot be told that the store takes no copies", "err", err)
		}
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
		c.Log.Info("the store takes copies again")
		if err := c.Ledger.ReportCopyTrouble(ctx, ""); err != nil && ctx.Err() == nil {
			c.Log.Warn("it cannot be told that the store takes copies again", "err", err)
		}
	}
	return ctx.Err() == nil
}

// pause waits for d and reports whether ctx is still alive.
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
