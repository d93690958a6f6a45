package tiwtest

const chunkLen = 256

// queue is a FIFO queue whose elements are numbered from 0. It is stored in
// chunks, so that it grows without copying and frees the memory of popped
// elements.
type queue[T any] struct {
	chunks      []*[chunkLen]T
	first, next uint64 // numbers of the oldest element and of the next one
}

func (q *queue[T]) len() int { return int(q.next - q.first) }

func (q *queue[T]) push(v T) uint64 {
	n := q.next
	if n%chunkLen == 0 {
		q.chunks = append(q.chunks, new([chunkLen]T))
	}
	q.next++
	*q.at(n) = v
	return n
}

// at returns element n, from first to next-1. The pointer is valid until the
// element is popped.
func (q *queue[T]) at(n uint64) *T {
	return &q.chunks[n/chunkLen-q.first/chunkLen][n%chunkLen]
}

func (q *queue[T]) pop() T {
	v := *q.at(q.first)
	q.first++
	if q.first%chunkLen == 0 {
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
	}
	return v
}
