package web_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/web/health"
	"tiwsnap/web/webtest"
)

func TestReadiness(t *testing.T) {
	needs.Time(t)
	server := redistest.Real(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
	defer rdb.Close()
	s := webtest.Serve(t, rdb)
	bad := func() string {
		var got struct {
			Ready  bool
			Checks []health.Check
		}
		r := s.Send("GET", "/readyz", "", "Authorization", "")
		want := 503
		if strings.HasPrefix(r.Body,
			`{"checks":[{"name":"redis","ok":true},{"name":"memory","ok":true},{"name":"policy","ok":true}],"ready":true}`) {
			want = 200
		}
		r.Want(want, &got)
		var names []string
		for _, c := range got.Checks {
			if !c.OK {
				names = append(names, c.Name)
				if c.Reason == "" {
					t.Errorf("%s has no reason", c.Name)
				}
			}
		}
		if got.Ready != (len(names) == 0) {
			t.Errorf("%s", r.Body)
		}
		return strings.Join(names, " ")
	}
	is := func(want string) {
		t.Helper()
		s.Until(func() bool { return bad() == want })
	}
	is("")
	webtest.StopSending(t, rdb, "ResourceUnavailable.ServiceExpired")
	is("") // new work is accepted all the same
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru")
	is("policy")
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction")
	rdb.ConfigSet(t.Context(), "maxmemory", "100000")
	is("memory")
	server.Kill()
	is("redis")
	s.Send("GET", "/livez", "", "Authorization", "").Want(200, nil)
	s.Send("GET", "/v1/batches", "").Problem(503, "redis-away")
	s.Send("POST", "/v1/batches", webtest.List, "Content-Type", "text/csv").Problem(503, "redis-away")
	s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).Problem(503, "redis-away")
	if log := s.Log.String(); !strings.Contains(log, `"operation":"list-batches","err":"`) {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if strings.Contains(s.Send("GET", "/v1/batches", "").Body, server.Addr) {
		t.Error("it shows where Redis is")
	}
}
