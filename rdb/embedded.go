package rdb

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// expireEvery is how late a key of an embedded Redis may expire.
const expireEvery = time.Second

func openEmbedded() (redis.UniversalClient, func() error, error) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the embedded redis: %w", err)
	}
	connect, err := parse("redis://" + m.Addr())
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	c := connect()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		expire(m, stop)
	}()
	return c, sync.OnceValue(func() error {
		close(stop)
		<-stopped
		err := c.Close()
		m.Close()
		if errors.Is(err, redis.ErrClosed) {
			return nil
		}
		return err
	}), nil
}

// expire moves the clock that miniredis counts its keys' time to live by, which
// stands still otherwise. (Its ClockTTL walks every key on every command.)
func expire(m *miniredis.Miniredis, stop <-chan struct{}) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			m.FastForward(now.Sub(last))
			last = now
		}
	}
}
