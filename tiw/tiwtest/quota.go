package tiwtest

// Window is how the quota draws its seconds. Tencent documents "requests per
// second by arrival at the server" and not which of the two it means.
type Window string

const (
	Calendar Window = "calendar" // each second of the server's clock by itself
	Sliding  Window = "sliding"  // any second, wherever it begins
)

const second = int64(1e9) // ns

// Peak is the peak second of its kind.
type Peak struct {
	Calls   int   `json:"calls"`
	BeginNs int64 `json:"beginNs"` // Unix ns
}

// meter counts calls at given times (Unix ns, never going back) and remembers
// the peak second of both kinds. Two calls exactly one second apart are
// never in the same second.
type meter struct {
	total    int64
	current  int64 // the calendar second of the last call, Unix s
	calls    int   // in it
	recent   queue[int64]
	calendar Peak
	sliding  Peak
}

// count returns how many calls are in the window that a call at t falls in,
// that one not included.
func (m *meter) count(w Window, t int64) int {
	if w == Sliding {
		m.forget(t)
		return m.recent.len()
	}
	if t/second != m.current {
		return 0
	}
	return m.calls
}

func (m *meter) add(t int64) {
	m.total++
	if t/second != m.current {
		m.current, m.calls = t/second, 0
	}
	m.calls++
	if m.calls > m.calendar.Calls {
		m.calendar = Peak{m.calls, m.current * second}
	}
	m.forget(t)
	m.recent.push(t)
	if n := m.recent.len(); n > m.sliding.Calls {
		m.sliding = Peak{n, *m.recent.at(m.recent.first)}
	}
}

func (m *meter) forget(t int64) {
	for m.recent.len() > 0 && *m.recent.at(m.recent.first) <= t-second {
		m.recent.pop()
	}
}

// quota is the rule that every bucket follows.
type quota struct {
	limit        int // calls in a second; negative: no limit
	window       Window
	rejectedFree bool // a rejected call takes nothing from the quota
}

// bucket is the quota of one action of one secret id.
type bucket struct {
	received, accepted meter // of our caller
	spent              meter // what the quota counts: also what others sent
	foreign            int64
	last               int64 // Unix ns of the last arrival
}

// arrive counts a call at t while others send foreign calls a second, evenly
// spread. It returns the number of calls in the window, this one included, and
// whether the quota lets it through.
func (b *bucket) arrive(q quota, t int64, foreign int) (n int, ok bool) {
	if foreign > 0 {
		step := second / int64(foreign)
		// What is more than a second back is in no window of this call.
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
