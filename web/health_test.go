package web_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/ledger"
	"tiwsnap/redistest"
	"tiwsnap/web"
)

func TestReadiness(t *testing.T) {
	server := redistest.Real(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
	defer rdb.Close()
	s := serve(t, rdb)
	bad := func() string {
		var got struct {
			Ready  bool
			Checks []web.Check
		}
		r := s.send("GET", "/readyz", "", "Authorization", "")
		want := 503
		if strings.HasPrefix(r.body, `{"checks":[{"name":"redis","ok":true},{"name":"memory","ok":true},{"name":"policy","ok":true},{"name":"breaker","ok":true}],"ready":true}`) {
			want = 200
		}
		r.want(want, &got)
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
			t.Errorf("%s", r.body)
		}
		return strings.Join(names, " ")
	}
	is := func(want string) {
		t.Helper()
		s.until(func() bool { return bad() == want })
	}
	is("")
	if err := ledger.New(rdb, ledger.Options{}).Trip(t.Context(), ledger.Trouble{Code: "ResourceUnavailable.ServiceExpired"}); err != nil {
		t.Fatal(err)
	}
	is("breaker")
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru")
	is("policy breaker")
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction")
	rdb.ConfigSet(t.Context(), "maxmemory", "100000")
	is("memory breaker")
	server.Kill()
	is("redis")
	s.send("GET", "/livez", "", "Authorization", "").want(200, nil)
	s.send("GET", "/v1/batches", "").problem(503, "redis-away")
	s.send("POST", "/v1/batches", list, "Content-Type", "text/csv").problem(503, "redis-away")
	s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).problem(503, "redis-away")
	if log := s.log.String(); !strings.Contains(log, `"operation":"list-batches","err":"`) {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if strings.Contains(s.send("GET", "/v1/batches", "").body, server.Addr) {
		t.Error("it shows where Redis is")
	}
}
