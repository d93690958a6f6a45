package gate_test

import (
	"errors"
	"strings"
	"testing"

	"tiwsnap/gate"
	"tiwsnap/internal/needs"
)

// A namespace stores the endpoint that has accepted requests, until a person says that it has moved. An endpoint that
// has never worked is a typo and is replaced.
func TestEndpoint(t *testing.T) {
	needs.Time(t)
	f := setup(t)
	const typo, first, second = "https://tiw.example.con", "https://tiw.example.com", "http://127.0.0.1:9000"
	check := func(name string, err error, known string) {
		t.Helper()
		var other *gate.EndpointError
		if errors.As(err, &other) != (known != "") || known == "" && err != nil {
			t.Fatalf("%s: error = %v, want an EndpointError: %t", name, err, known != "")
		}
		if known != "" && (other.Known != known || !strings.Contains(other.Fix(), "worker --moved")) {
			t.Errorf("%s: error = %v, fix %q, want the known endpoint %s", name, err, other.Fix(), known)
		}
	}
	check("no endpoint is stored", f.CheckEndpoint(t.Context(), first), "")
	check("a typo", f.UseEndpoint(t.Context(), typo, false), "")
	check("the typo is replaced", f.UseEndpoint(t.Context(), first, false), "")

	p := f.create("a")
	p.Done(t.Context(), "task", nil)
	check("the same endpoint", f.UseEndpoint(t.Context(), strings.ToUpper(first), false), "")
	check("a check of another endpoint", f.CheckEndpoint(t.Context(), second), first)
	check("a worker with another endpoint", f.UseEndpoint(t.Context(), second, false), first)
	check("another namespace", gate.NewBreaker(f.rdb, "laptop").UseEndpoint(t.Context(), second, false), "")
	check("a move", f.UseEndpoint(t.Context(), second, true), "")
	check("a worker with the old endpoint", f.UseEndpoint(t.Context(), first, false), second)
}
