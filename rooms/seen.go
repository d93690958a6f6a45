package rooms

import "math/rand/v2"

// seen remembers on which line each room is, in 10 bytes a room. (With Go maps
// 2 million rooms took 61 MB of heap at the peak, with this 38.) The upper half of
// a hash that loses nothing picks the bucket, so that an entry need only hold
// the lower half, the number of the app and the line.
type seen struct {
	odd     uint32 // random: no file can fill one bucket on purpose
	apps    map[uint64]uint32
	buckets [1 << 16][]uint64
}

func newSeen() *seen {
	return &seen{odd: rand.Uint32() | 1, apps: make(map[uint64]uint32)}
}

// app returns the number of an app, below maxApps, or false if it is one too many.
func (s *seen) app(id uint64) (uint32, bool) {
	n, ok := s.apps[id]
	if !ok {
		if len(s.apps) == maxApps {
			return 0, false
		}
		n = uint32(len(s.apps))
		s.apps[id] = n
	}
	return n, true
}

// add notes the line of a room and returns 0, or the line that it had before.
func (s *seen) add(app, room, line uint32) uint32 {
	hash := (room + app*0x9e3779b9) * s.odd
	key := uint64(hash&0xffff)<<48 | uint64(app)<<32
	bucket := s.buckets[hash>>16]
	for _, e := range bucket {
		if e>>32 == key>>32 {
			return uint32(e)
		}
	}
	if n := len(bucket); n == cap(bucket) {
		bucket = make([]uint64, n, n+n/8+4)
		copy(bucket, s.buckets[hash>>16])
	}
	s.buckets[hash>>16] = append(bucket, key|uint64(line))
	return 0
}
