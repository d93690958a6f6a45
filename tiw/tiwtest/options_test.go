package tiwtest_test

import (
	"fmt"
	"strings"
	"testing"

	"tiwsnap/tiw/tiwtest"
)

func TestOptionValidation(t *testing.T) {
	o := tiwtest.Options{
		Window: "rolling", Envelope: "xml", TaskFailure: 2, LatencySigma: -1, Latency: -1, MaxTasks: -1,
		Faults: tiwtest.Faults{Cut: 2},
	}
	err := o.Validate()
	for _, want := range []string{"window", "envelope", "task failure", "latency sigma", "latency is",
		"max tasks", "cut"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("Validate() = %v, want it to mention %s", err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("New() accepted invalid options")
		}
	}()
	tiwtest.New(o)
}

func TestSecretsAreRedacted(t *testing.T) {
	o := tiwtest.Options{Credentials: map[string]tiwtest.Secret{"id": "canary"}, CallbackKey: "canary"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(verb, o); strings.Contains(s, "canary") {
			t.Errorf("the format %s prints the secret", verb)
		}
	}
}
