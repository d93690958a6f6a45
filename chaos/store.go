package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tiw/tiwtest"
)

// imageFaults returns the shares of image requests with each fault. A worker gives up an image that stalls after two
// minutes, and one that hangs after 15 s, so a short run has neither.
func imageFaults(short bool) map[tiwtest.ImageFault]float64 {
	rates := maps.Clone(imageRates)
	if short {
		delete(rates, tiwtest.ImageStall)
		delete(rates, tiwtest.ImageHang)
	}
	return rates
}

var imageRates = map[tiwtest.ImageFault]float64{
	tiwtest.ImageForbidden: 0.03, tiwtest.ImageNotFound: 0.03, tiwtest.ImageUnavailable: 0.03,
	tiwtest.ImageHang: 0.01, tiwtest.ImageStall: 0.01, tiwtest.ImageHTML: 0.03, tiwtest.ImageType: 0.03,
	tiwtest.ImageCut: 0.03, tiwtest.ImageShort: 0.03, tiwtest.ImageChunked: 0.03, tiwtest.ImageEndless: 0.002,
}

// volumeSize is the size of the volume while it is not full.
const volumeSize = "1g"

// store is a folder for copies of images, on a volume that can be missing or full.
type store struct {
	volume  string // folder that has the store in it
	mounted bool   // it is a tmpfs, else it cannot be full
}

// newStore makes a store. For a volume that can be full it must be allowed to mount.
func newStore(volume string, full bool) (*store, error) {
	s := &store{volume: volume}
	if full {
		if err := syscall.Mount("tiwsnap-chaos", volume, "tmpfs", 0, "size="+volumeSize); err != nil {
			return nil, fmt.Errorf("mount a tmpfs for %s: %w: "+
				"be root, or begin with \"unshare -rm\", or leave it out of -faults", faultStoreFull, err)
		}
		s.mounted = true
	}
	if err := os.MkdirAll(s.dir(), 0o700); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) dir() string { return filepath.Join(s.volume, "boards") }

func (s *store) url() string { return "file://" + s.dir() }

// leave makes the folder missing, as if its volume were not mounted; comeBack ends it.
func (s *store) leave() error    { return os.Rename(s.dir(), s.dir()+".away") }
func (s *store) comeBack() error { return os.Rename(s.dir()+".away", s.dir()) }

// fill fills the volume; drain ends it.
func (s *store) fill() error {
	var stat syscall.Statfs_t
	for range 100 { // it may grow between the two calls
		if err := syscall.Statfs(s.volume, &stat); err != nil {
			return err
		}
		used := max(1, stat.Blocks-stat.Bfree) * uint64(stat.Bsize)
		if err := s.resize(fmt.Sprint(used)); !errors.Is(err, syscall.EINVAL) {
			return err
		}
	}
	return errors.New("the store grows faster than it can be filled")
}

func (s *store) drain() error { return s.resize(volumeSize) }

func (s *store) resize(size string) error {
	return syscall.Mount("", s.volume, "", syscall.MS_REMOUNT, "size="+size)
}

func (s *store) close() error {
	if !s.mounted {
		return nil
	}
	return syscall.Unmount(s.volume, syscall.MNT_DETACH)
}

// compareImages compares the copies of all images with the images of the simulator.
func (f *finding) compareImages(ctx context.Context, all []results.Result) {
	var mu sync.Mutex
	var out errgroup.Group
	out.SetLimit(4)
	for _, r := range all {
		for i, image := range r.Images {
			out.Go(func() error {
				var problem error
				lost := i >= len(r.CopyList) || r.CopyList[i].State != string(ledger.Copied)
				if !lost {
					problem = sameImage(ctx, image, r.CopyList[i].URL)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case lost:
					f.LostImages++
					f.example("%s: image %d has no copy: %s", r.ID, i+1, r.CopyProblem)
				case problem != nil:
					f.WrongImages++
					f.example("%s: the copy of image %d: %v", r.ID, i+1, problem)
				default:
					f.KeptImages++
				}
				return nil
			})
		}
	}
	out.Wait()
}

// sameImage compares a copy byte for byte.
func sameImage(ctx context.Context, image, copyURL string) error {
	u, err := url.Parse(copyURL)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(u.Path)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, image, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	want, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the simulator answers %s: %w", resp.Status, err)
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%d bytes that differ from the image of %d bytes", len(have), len(want))
	}
	return nil
}
