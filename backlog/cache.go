package backlog

import (
	"container/list"
	"sync"
	"time"
)

// maxCache is the size of a cache, in bytes: more than a hundred chunks of plain rooms.
const maxCache = 4 << 20

// scanCache is the size of the cache of a scan over all rooms, in bytes. A scan reads
// each chunk once, but the starts of the parts of one repeatedly.
const scanCache = 64 << 10

// chunkCache is an LRU cache of chunks. Chunks never change, but a batch id may get
// other rooms: after a loss of data, see ClearCache, or after the batch has expired,
// days later. Entries expire after an hour.
type chunkCache struct {
	max  int // bytes
	mu   sync.Mutex
	size int // bytes
	byID map[chunkID]*list.Element
	used list.List // of cachedChunk, most recently used first
}

type cachedChunk struct {
	id    chunkID
	chunk *chunk
	read  time.Time
}

func (cc *chunkCache) get(id chunkID) *chunk {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	e := cc.byID[id]
	if e == nil || time.Since(e.Value.(cachedChunk).read) > time.Hour {
		return nil
	}
	cc.used.MoveToFront(e)
	return e.Value.(cachedChunk).chunk
}

func (cc *chunkCache) put(id chunkID, c *chunk) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.byID == nil {
		cc.byID = make(map[chunkID]*list.Element)
	}
	if e := cc.byID[id]; e != nil {
		cc.drop(e)
	}
	cc.byID[id] = cc.used.PushFront(cachedChunk{id, c, time.Now()})
	cc.size += c.size()
	for cc.size > cc.max && cc.used.Len() > 1 {
		cc.drop(cc.used.Back())
	}
}

func (cc *chunkCache) clear() {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	clear(cc.byID)
	cc.used.Init()
	cc.size = 0
}

func (cc *chunkCache) drop(e *list.Element) {
	c := cc.used.Remove(e).(cachedChunk)
	delete(cc.byID, c.id)
	cc.size -= c.chunk.size()
}
