package backlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

// Bounds of one search, which then takes about a tenth of a second. Parts count as
// chunks.
const (
	maxBatches = 10_000
	maxFilters = 8_000 // four million rooms
	maxChunks  = 512
)

// Bounds of one round trip.
const (
	readBatches = 500
	readFilters = 1000
	readChunks  = 16
)

// fedAhead is how many rooms of a batch may have been fed and not begun.
const fedAhead = 2000

// ErrCursor means that a cursor is not one that Search has returned.
var ErrCursor = errors.New("not a cursor")

// Match is a room of an open batch that matches the word.
type Match struct {
	Batch string
	Row   int // from 1
	Room  tasks.Room
	Fed   bool // it was fed: it is in flight, or has a record
}

// Matches is the result of a search.
type Matches struct {
	Rooms    []Match
	Searched int    // waiting rooms searched so far, previous pages included
	Next     string // cursor of the next page; empty: all rooms were searched
}

// Search returns at most limit rooms of open batches that match a word, by RoomId or
// the value of a label. Newest batches come first; some of the rooms may have been fed
// lately. after is the cursor of the previous page, or empty. One call searches at most
// about four million rooms. Errors: ErrCursor, or Redis'.
func (b *Backlog) Search(ctx context.Context, word, after string, limit int) (Matches, error) {
	at := position{score: "+inf"}
	if after != "" {
		var err error
		if at, err = parsePosition(after); err != nil {
			return Matches{}, err
		}
	}
	text, err := json.Marshal(word)
	if err != nil {
		return Matches{}, fmt.Errorf("encode %q: %w", word, err)
	}
	s := &search{
		b: b, word: word, text: text[1 : len(text)-1], // RoomIds have no quotes
		hash: xxhash.Sum64String(word), limit: limit, found: Matches{Searched: at.searched},
	}
	for first := true; ; first = false {
		batches, err := s.openBatches(ctx, at, first)
		if err != nil || len(batches) == 0 {
			return s.found, err
		}
		if done, err := s.searchBatches(ctx, batches); err != nil || done {
			return s.found, err
		}
		at = batches[len(batches)-1].position
	}
}

// position is where a search goes on: at a row of a batch. As a string it is a cursor.
type position struct {
	score    string // creation of the batch (ms)
	batch    string
	row      int // from 1
	searched int
}

func (p position) String() string {
	return fmt.Sprintf("%s.%s.%d.%d", p.score, p.batch, p.row, p.searched)
}

func parsePosition(cursor string) (p position, err error) {
	parts := strings.Split(cursor, ".")
	if len(parts) != 4 {
		return p, ErrCursor
	}
	_, e1 := strconv.ParseInt(parts[0], 10, 64)
	row, e2 := strconv.Atoi(parts[2])
	searched, e3 := strconv.Atoi(parts[3])
	if errors.Join(e1, e2, e3) != nil || row < 1 || searched < 0 {
		return p, ErrCursor
	}
	return position{parts[0], parts[1], row, searched}, nil
}

// search is the state of one search.
type search struct {
	b     *Backlog
	word  string
	text  []byte // the word as it is encoded in a chunk
	hash  uint64
	limit int
	found Matches

	batches, filters, chunks int // read so far
}

// open is an open batch that is searched from the row of its position on.
type open struct {
	position
	total, fed int
	all        bool // its defaults match the word, so any room may
}

// openBatches returns the next batches after the position; if inclusive, starting with
// the batch of the position.
func (s *search) openBatches(ctx context.Context, at position, inclusive bool) (all []open, err error) {
	running := s.b.ns.Running()
	for offset := int64(0); len(all) == 0; offset += readBatches {
		got, err := s.b.rdb.ZRevRangeByScoreWithScores(ctx, running,
			&redis.ZRangeBy{Min: "-inf", Max: at.score, Offset: offset, Count: readBatches}).Result()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", running, err)
		}
		for _, z := range got {
			o := open{position: position{score: strconv.FormatInt(int64(z.Score), 10), batch: z.Member.(string), row: 1}}
			switch {
			case o.score != at.score || o.batch < at.batch:
				all = append(all, o)
			case o.batch == at.batch && inclusive:
				o.row = at.row
				all = append(all, o)
			}
		}
		if len(got) < readBatches {
			break
		}
	}
	pipe := s.b.rdb.Pipeline()
	replies := make([]*redis.SliceCmd, len(all))
	for i, o := range all {
		replies[i] = pipe.HMGet(ctx, s.b.ns.Batch(o.batch), "total", "fed", "defaults")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read open batches: %w", err)
	}
	for i := range all {
		o, v := &all[i], replies[i].Val()
		total, _ := v[0].(string)
		fed, _ := v[1].(string)
		o.total, _ = strconv.Atoi(total) // only our scripts write them; missing if the batch has just expired
		o.fed, _ = strconv.Atoi(fed)
		o.row = max(o.row, o.fed+1-fedAhead)
		if defaults, _ := v[2].(string); strings.Contains(defaults, string(s.text)) {
			var room tasks.Room
			if err := json.Unmarshal([]byte(defaults), &room); err != nil {
				return nil, fmt.Errorf("defaults of batch %s: %w", o.batch, err)
			}
			o.all = slices.Contains(room.Words(), s.word)
		}
	}
	return all, nil
}

// span is the chunks of a batch from first to end, exclusively.
type span struct {
	*open
	first, end int
}

// searchBatches searches batches. done means that the search has ended.
func (s *search) searchBatches(ctx context.Context, batches []open) (done bool, err error) {
	var spans []span
	n := 0
	for i := range batches {
		o := &batches[i]
		for first, last := (o.row-1)/chunkRows, (o.total-1)/chunkRows; o.row <= o.total && first <= last; {
			end := min(first+readFilters-n, last+1)
			spans = append(spans, span{o, first, end})
			n += end - first
			first = end
			if n == readFilters {
				if done, err = s.searchSpans(ctx, spans); done || err != nil {
					return done, err
				}
				spans, n = spans[:0], 0
			}
		}
		if s.batches++; s.batches == maxBatches {
			if done, err = s.searchSpans(ctx, spans); !done && err == nil {
				s.stop(o, o.total+1)
			}
			return true, err
		}
	}
	return s.searchSpans(ctx, spans)
}

// searchSpans reads the filters of chunks, and searches the chunks that may match.
func (s *search) searchSpans(ctx context.Context, spans []span) (done bool, err error) {
	pipe := s.b.rdb.Pipeline()
	replies := make([]*redis.SliceCmd, len(spans))
	for i, p := range spans {
		names := make([]string, p.end-p.first)
		for n := range names {
			names[n] = filterName(p.first + n)
		}
		replies[i] = pipe.HMGet(ctx, s.b.ns.Rows(p.batch), names...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("read the filters of waiting rooms: %w", err)
	}
	type candidate struct {
		span int
		id   chunkID
	}
	var candidates []candidate
	for i, p := range spans {
		for n, v := range replies[i].Val() {
			f, _ := v.(string)
			if p.all || filter(f).mayHave(s.hash) {
				candidates = append(candidates, candidate{i, chunkID{p.batch, p.first + n, -1}})
			}
		}
		s.filters += p.end - p.first
	}
	counted := 0
	countBefore := func(span int) {
		for ; counted < span; counted++ {
			s.count(spans[counted].open, spans[counted].end*chunkRows)
		}
	}
	for some := range slices.Chunk(candidates, readChunks) {
		ids := make([]chunkID, len(some))
		for i, c := range some {
			ids[i] = c.id
		}
		chunks, err := s.b.fieldsOf(ctx, ids)
		if err != nil {
			return false, err
		}
		s.chunks += len(ids)
		for i, c := range some {
			countBefore(c.span)
			if done, err := s.searchChunk(ctx, spans[c.span].open, c.id, chunks[i]); done || err != nil {
				return done, err
			}
		}
		if last := some[len(some)-1]; s.chunks >= maxChunks {
			s.stop(spans[last.span].open, (last.id.n+1)*chunkRows+1)
			return true, nil
		}
	}
	countBefore(len(spans))
	if s.filters >= maxFilters {
		last := spans[len(spans)-1]
		s.stop(last.open, last.end*chunkRows+1)
		return true, nil
	}
	return false, nil
}

// searchChunk adds the matching rooms of a chunk or part. c is nil if the batch has
// just expired.
func (s *search) searchChunk(ctx context.Context, o *open, id chunkID, c *chunk) (done bool, err error) {
	if c == nil {
		return false, nil
	}
	parts := make([]chunkID, len(c.parts))
	for n, start := range c.parts {
		parts[n] = chunkID{id.batch, id.n, start}
	}
	for some := range slices.Chunk(parts, readChunks/4) {
		all, err := s.b.fieldsOf(ctx, some)
		if err != nil {
			return false, err
		}
		s.chunks += len(some)
		for i, part := range all {
			if done, err := s.searchChunk(ctx, o, some[i], part); done || err != nil {
				return done, err
			}
		}
	}
	if len(parts) > 0 {
		return false, nil
	}
	for n, line := range c.lines {
		row := c.first + n + 1
		if row < o.row || !o.all && !bytes.Contains(line, s.text) {
			continue
		}
		room, err := c.room(row - 1)
		if err != nil {
			return false, err
		}
		if !slices.Contains(room.Words(), s.word) {
			continue
		}
		s.found.Rooms = append(s.found.Rooms, Match{o.batch, row, room, row <= o.fed})
		if len(s.found.Rooms) == s.limit {
			s.stop(o, row+1)
			return true, nil
		}
	}
	return false, nil
}

// count counts the waiting rooms of the batch up to a row as searched.
func (s *search) count(o *open, row int) {
	row = min(row, o.total)
	s.found.Searched += max(0, row+1-max(o.row, o.fed+1))
	o.row = max(o.row, row+1)
}

// stop ends the search before a row, and sets the cursor.
func (s *search) stop(o *open, row int) {
	s.count(o, row-1)
	s.found.Next = position{o.score, o.batch, max(row, 1), s.found.Searched}.String()
}
