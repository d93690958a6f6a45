package asynqx

import (
	"cmp"
	"maps"
	"slices"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Weight is what each server of ours gives to its one queue, so that others are known apart. To asynq the weight of a
// single queue means nothing.
const Weight = 7410

// Server is an asynq server that is not ours.
type Server struct {
	Host   string
	PID    int
	Queues []string // of those asked for, the ones that it takes tasks from
}

// Foreign returns the asynq servers that take tasks from some of the queues, and are not ours.
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
