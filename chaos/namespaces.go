package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/testbed"
)

// twoNamespaces runs two installations on one Redis: two accounts with the same rooms and batch name, each with its own
// simulator and workers. Faults of Redis hit both, every other fault only one. Neither may see data of the other.
func twoNamespaces(ctx context.Context, s *stage) ([]*report, error) {
	dirs := map[keys.Namespace]string{}
	for _, ns := range []keys.Namespace{"school-a", "school-b"} {
		dir, err := s.folder(ns.String())
		if err != nil {
			return nil, err
		}
		dirs[ns] = dir
	}
	bed, err := testbed.New(dirs["school-a"], s.binary)
	if err != nil {
		return nil, err
	}
	a, err := s.install(bed, "school-a")
	if err != nil {
		return nil, err
	}
	defer a.close()
	if bed, err = testbed.On(a.Redis.URL(), dirs["school-b"], s.binary); err != nil {
		return nil, err
	}
	b, err := s.install(bed, "school-b")
	if err != nil {
		return nil, err
	}
	defer b.close()

	s.begin()
	both := []*installation{a, b}
	reports := make([]*report, 2)
	run, ctx := errgroup.WithContext(ctx)
	for i, in := range both {
		kinds := []string{faultStop, faultTerm, faultRedis, faultFreeze, faultArrears, faultForeign}
		if in.Redis == nil { // it is struck in the other one's name
			kinds = []string{faultStop, faultTerm, faultArrears, faultForeign}
		}
		run.Go(func() error {
			if err := in.enqueue(ctx); err != nil {
				return err
			}
			arena := &arena{in: in}
			end := arena.start(ctx, schedule(s.seed+uint64(i), kinds, s.rooms, s.killEvery, s.strikeFor))
			in.follow(ctx)
			if err := end(); err != nil {
				return err
			}
			r, err := in.finish(ctx, evidence{strikes: arena.strikes})
			if err != nil {
				return err
			}
			r.Name += " " + in.ns.String()
			r.Broken = append(r.Broken, in.crossed()...)
			reports[i] = r
			return nil
		})
	}
	if err := run.Wait(); err != nil {
		return nil, err
	}
	foreign, err := foreignKeys(context.WithoutCancel(ctx), a, b)
	if err != nil {
		return nil, err
	}
	for _, key := range foreign {
		reports[0].Broken = append(reports[0].Broken, "a key of neither namespace: "+key)
	}
	return reports, nil
}

// crossed lists requests at an account with the credentials of the other one.
func (in *installation) crossed() (broken []string) {
	for code, n := range in.Sim.State().Codes {
		switch code {
		case "AuthFailure.SecretIdNotFound", "AuthFailure.SignatureFailure":
			broken = append(broken, fmt.Sprintf("requests with credentials that are not of the account: %d %s", n, code))
		}
	}
	return broken
}

// foreignKeys returns the keys in the Redis of two installations that belong to neither and are not global keys of
// asynq.
func foreignKeys(ctx context.Context, a, b *installation) (foreign []string, err error) {
	var own []string // prefixes
	for _, ns := range []keys.Namespace{a.ns, b.ns} {
		own = append(own, strings.TrimSuffix(ns.Batches(), "batches"))
		for _, queue := range ns.Queues() {
			own = append(own, asynqx.Prefix(queue))
		}
	}
	all := a.DB.Scan(ctx, 0, "*", 1000).Iterator()
	for all.Next(ctx) {
		key := all.Val()
		begins := func(prefix string) bool { return strings.HasPrefix(key, prefix) }
		if !asynqx.Shared(key) && !slices.ContainsFunc(own, begins) {
			foreign = append(foreign, key)
		}
	}
	return foreign, all.Err()
}
