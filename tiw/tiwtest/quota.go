package tiwtest

// Window is how the quota counts seconds. Tencent documents "requests per
// second by arrival at the server", but not which of the two it means.
type Window string

const (
	Calendar Window = "calendar" // seconds of the server's clock
	Sliding  Window = "sliding"  // any period of one second
)

const second = int64(1e9) // ns

// Peak is the second with the most requests.
type Peak struct {
	Requests int   `json:"requests"`
	BeginNs  int64 `json:"beginNs"` // Unix ns
}

// meter counts requests by arrival time (Unix ns, non-decreasing) and keeps the
// peak second of both kinds. Two requests exactly one second apart are in
// different seconds.
type meter struct {
	total     int64
	current   int64 // calendar second of the last request, Unix s
	inCurrent int   // requests in the current second
	recent    queue[int64]
	calendar  Peak
	sliding   Peak
}

// count returns the number of earlier requests in the window of a request at t.
func (m *meter) count(w Window, t int64) int {
	if w == Sliding {
		m.dropOld(t)
		return m.recent.len()
	}
	if t/second != m.current {
		return 0
	}
	return m.inCurrent
}

func (m *meter) add(t int64) {
	m.total++
	if t/second != m.current {
		m.current, m.inCurrent = t/second, 0
	}
	m.inCurrent++
	if m.inCurrent > m.calendar.Requests {
		m.calendar = Peak{m.inCurrent, m.current * second}
	}
	m.dropOld(t)
	m.recent.push(t)
	if n := m.recent.len(); n > m.sliding.Requests {
		m.sliding = Peak{n, *m.recent.at(m.recent.first)}
	}
}

func (m *meter) dropOld(t int64) {
	for m.recent.len() > 0 && *m.recent.at(m.recent.first) <= t-second {
		m.recent.pop()
	}
}

// quota has the settings that all buckets share.
type quota struct {
	limit        int // requests per second; negative: no limit
	window       Window
	rejectedFree bool // rejected requests do not count
}

// bucket is the quota of one action of one secret id.
type bucket struct {
	received, accepted meter // requests of the client under test
	spent              meter // requests that the quota counts, with foreign ones
	foreign            int64 // simulated requests of other clients
	last               int64 // Unix ns of the last arrival
}

// arrive counts a request at t. Since the last arrival other clients have sent
// foreign requests per second, evenly spaced. It returns the number of requests
// in the window, this one included, and whether the quota permits this one.
func (b *bucket) arrive(q quota, t int64, foreign int) (n int, ok bool) {
	if foreign > 0 {
		step := second / int64(foreign)
		// Foreign requests older than a second are outside every window of t.
		from := max(b.last, t-second)
		for f := from - from%step + step; f <= t; f += step {
			b.foreign++
			b.spend(q, f)
		}
	}
	b.last = t
	b.received.add(t)
	n, ok = b.spend(q, t)
	if ok {
		b.accepted.add(t)
	}
	return n, ok
}

func (b *bucket) spend(q quota, t int64) (n int, ok bool) {
	n = b.spent.count(q.window, t) + 1
	ok = q.limit < 0 || n <= q.limit
	if ok || !q.rejectedFree {
		b.spent.add(t)
	}
	return n, ok
}
