package backlog

import (
	"strconv"

	"github.com/cespare/xxhash/v2"

	"tiwsnap/tasks"
)

// A filter is a Bloom filter of the words of a chunk, with filterBits bits and
// filterHashes hashes a word. About 1 % of the chunks without a word are false
// positives. These numbers and the hash (XXH64) are part of the format.
const (
	filterBits   = 10
	filterHashes = 4
)

// words are the hashes of the words of the chunk that is being filled.
type words struct {
	rooms  []uint64
	labels map[uint64]struct{} // a set, because the rooms of a class share labels
}

func (w *words) add(room *tasks.Room) {
	var digits [20]byte
	w.rooms = append(w.rooms, xxhash.Sum64(strconv.AppendUint(digits[:0], room.RoomId, 10)))
	for _, value := range room.Label {
		if w.labels == nil {
			w.labels = make(map[uint64]struct{})
		}
		w.labels[xxhash.Sum64String(value)] = struct{}{}
	}
}

// appendFilter appends the filter of the words to b, and clears the words.
func (w *words) appendFilter(b []byte) []byte {
	n := len(w.rooms) + len(w.labels)
	begin := len(b)
	b = append(b, make([]byte, (n*filterBits+7)/8)...)
	f := filter(b[begin:])
	for _, hash := range w.rooms {
		f.add(hash)
	}
	for hash := range w.labels {
		f.add(hash)
	}
	w.rooms = w.rooms[:0]
	clear(w.labels)
	return b
}

func filterName(chunk int) string { return strconv.Itoa(chunk) + ".f" }

type filter []byte

// bit returns the position of the nth bit of a hash, by double hashing.
func (f filter) bit(hash uint64, n int) (index int, mask byte) {
	h := uint32(hash) + uint32(n)*(uint32(hash>>32)|1)
	bit := uint64(h) * uint64(len(f)*8) >> 32
	return int(bit / 8), 1 << (bit % 8)
}

func (f filter) add(hash uint64) {
	for n := range filterHashes {
		i, mask := f.bit(hash, n)
		f[i] |= mask
	}
}

// mayHave reports whether the chunk may have the word of a hash. A chunk of an older
// release has no filter and may have any word.
func (f filter) mayHave(hash uint64) bool {
	if len(f) == 0 {
		return true
	}
	for n := range filterHashes {
		if i, mask := f.bit(hash, n); f[i]&mask == 0 {
			return false
		}
	}
	return true
}
