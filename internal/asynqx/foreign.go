package asynqx

import (
	"cmp"
	"maps"
	"slices"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Weight is the queue weight that every tiwsnap server uses. It tells tiwsnap's asynq servers from foreign ones. asynq
// ignores the weight if a server has one queue.
const Weight = 7410

// Server is an asynq server that does not belong to tiwsnap.
type Server struct {
	Host   string
	PID    int
	Queues []string // that it takes tasks from, of those passed to Foreign
}

// Foreign returns the asynq servers that take tasks from any of queues and do not belong to tiwsnap, ordered by host
// and PID.
func Foreign(c redis.UniversalClient, queues ...string) (all []Server, err error) {
	servers, err := asynq.NewInspectorFromRedisClient(c).Servers()
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		var taken []string
		for _, queue := range slices.Sorted(maps.Keys(s.Queues)) {
			if slices.Contains(queues, queue) && s.Queues[queue] != Weight {
				taken = append(taken, queue)
			}
		}
		if len(taken) > 0 {
			all = append(all, Server{s.Host, s.PID, taken})
		}
	}
	slices.SortFunc(all, func(a, b Server) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID)) })
	return all, nil
}
