package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/web"
)

// stopped stops all sending for a code of the account.
func stopped(t *testing.T, rdb redis.UniversalClient, code string) {
	t.Helper()
	err := rdb.HSet(t.Context(), keys.Default.Breaker(), "cause", "account", "code", code, "message", code,
		"since", time.Now().UnixMilli(), "next_trial_at", time.Now().Add(time.Minute).UnixMilli(), "pass", 1).Err()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadiness(t *testing.T) {
	needs.Time(t)
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
		if strings.HasPrefix(r.body,
			`{"checks":[{"name":"redis","ok":true},{"name":"memory","ok":true},{"name":"policy","ok":true}],"ready":true}`) {
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
	stopped(t, rdb, "ResourceUnavailable.ServiceExpired")
	is("") // work is taken all the same
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru")
	is("policy")
	rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction")
	rdb.ConfigSet(t.Context(), "maxmemory", "100000")
	is("memory")
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

func TestStopAndStart(t *testing.T) {
	s := newService(t)
	var got struct{ Stopped []gate.Stop }
	s.send("POST", "/v1/stop?reason=exams", "").want(200, &got)
	if len(got.Stopped) != 2 || got.Stopped[1].Cause != gate.NoWorker || got.Stopped[0].Cause != gate.Person ||
		got.Stopped[0].Message != "exams" ||
		got.Stopped[0].By == "" {
		t.Errorf("%+v", got)
	}
	limit := s.send("GET", "/v1/limit", "").body
	if !strings.Contains(limit, `"what":"Sending is stopped"`) || !strings.Contains(limit, `: exams"`) {
		t.Error(limit)
	}
	s.send("POST", "/v1/start", "").want(200, &got)
	if len(got.Stopped) != 1 || got.Stopped[0].Cause != gate.NoWorker ||
		got.Stopped[0].Fix != "start one with tiwsnap worker" {
		t.Errorf("%+v", got)
	}
	for _, role := range []web.Role{web.RoleView, web.RoleProduce} {
		for _, path := range []string{"/v1/stop", "/v1/start"} {
			s.send("POST", path, "", "Authorization", "Bearer "+s.tokens[role]).problem(403, "role")
		}
	}
}
