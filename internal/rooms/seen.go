package rooms

import (
	"math"
	"math/rand/v2"
)

// seen maps each room to its line, in 8 bytes a room. It never moves an entry; growing Go maps took 61 MB of heap at
// the peak for 2 million rooms. The upper half of a reversible hash selects the bucket, so an entry needs only the
// lower half, the number of the app and the line.
type seen struct {
	odd     uint32 // random factor of the hash, so that no file can fill one bucket on purpose
	apps    map[uint64]uint32
	newest  [1 << 16]uint32 // block of each bucket, from 1
	blocks  uint32
	storage []*[slabBlocks]seenBlock
	wide    map[wideRoom]uint32 // line of each room that has no place in a block
}

// wideRoom is a room with a RoomId above 2^32-1, which is rare.
type wideRoom struct {
	room uint64
	app  uint32
}

// seenBlock has up to blockRooms rooms of one bucket in 64 bytes.
type seenBlock struct {
	older uint32             // the block before, which is full
	place [blockRooms]uint32 // number of the app, then line: lineBits, 0 where there is no room yet
	low   [blockRooms]uint16 // the lower half of the hash
}

const (
	blockRooms = 10
	slabBlocks = 1 << 10
	lineBits   = 22 // the other 10 are enough for maxApps
	maxLine    = 1<<lineBits - 1
)

func newSeen() *seen {
	return &seen{odd: rand.Uint32() | 1, apps: make(map[uint64]uint32), wide: make(map[wideRoom]uint32)}
}

// app returns the number of an app, below maxApps, or false if there are too many apps.
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

// add records the line of a room and returns 0. If the room was recorded before, it returns that line; maxLine means
// that line or a later one.
func (s *seen) add(app uint32, room uint64, line int) uint32 {
	shown := uint32(min(line, maxLine))
	if room > math.MaxUint32 {
		id := wideRoom{room, app}
		before := s.wide[id]
		if before == 0 {
			s.wide[id] = shown
		}
		return before
	}
	hash := (uint32(room) + app*0x9e3779b9) * s.odd
	low, place := uint16(hash), app<<lineBits|shown
	newest := &s.newest[hash>>16]
	for at := *newest; at > 0; {
		b := s.block(at)
		for i, p := range b.place {
			if b.low[i] == low && p>>lineBits == app && p&maxLine > 0 {
				return p & maxLine
			}
		}
		at = b.older
	}
	at := 0
	if *newest > 0 {
		for b := s.block(*newest); at < blockRooms && b.place[at] > 0; at++ {
		}
	}
	if at == 0 || at == blockRooms {
		*newest, at = s.grow(*newest), 0
	}
	b := s.block(*newest)
	b.low[at], b.place[at] = low, place
	return 0
}

func (s *seen) block(n uint32) *seenBlock {
	return &s.storage[(n-1)/slabBlocks][(n-1)%slabBlocks]
}

// grow allocates a block and returns its number.
func (s *seen) grow(older uint32) uint32 {
	if s.blocks%slabBlocks == 0 {
		s.storage = append(s.storage, new([slabBlocks]seenBlock))
	}
	s.blocks++
	s.block(s.blocks).older = older
	return s.blocks
}
