package api_test

import (
	"strings"
	"testing"

	"tiwsnap/gate"
	"tiwsnap/web"
	"tiwsnap/web/webtest"
)

func TestStopAndStart(t *testing.T) {
	s := webtest.NewService(t)
	var got struct{ Stopped []gate.Stop }
	s.Send("POST", "/v1/stop?reason=exams", "").Want(200, &got)
	if len(got.Stopped) != 2 || got.Stopped[1].Cause != gate.NoWorker || got.Stopped[0].Cause != gate.Person ||
		got.Stopped[0].Message != "exams" ||
		got.Stopped[0].By == "" {
		t.Errorf("stop = %+v, want stopped by a person and without a worker", got)
	}
	limit := s.Send("GET", "/v1/limit", "").Body
	if !strings.Contains(limit, `"what":"Sending is stopped"`) || !strings.Contains(limit, `: exams"`) {
		t.Errorf("/v1/limit is %s, want the stop and its reason", limit)
	}
	s.Send("POST", "/v1/start", "").Want(200, &got)
	if len(got.Stopped) != 1 || got.Stopped[0].Cause != gate.NoWorker ||
		got.Stopped[0].Fix != "start one with tiwsnap worker" {
		t.Errorf("start = %+v, want stopped only without a worker", got)
	}
	for _, role := range []web.Role{web.RoleView, web.RoleProduce} {
		for _, path := range []string{"/v1/stop", "/v1/start"} {
			s.Send("POST", path, "", "Authorization", "Bearer "+s.Tokens[role]).Problem(403, "role")
		}
	}
}
